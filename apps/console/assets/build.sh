#!/bin/sh
# Rebuilds datastar.js (MIT, Delaney Gillilan) from the npm registry. Needs node.
set -eu
out=$(cd "$(dirname "$0")" && pwd)/datastar.js
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-fund --no-audit @starfederation/datastar@1.0.0-beta.11 esbuild@0.25.0
npx esbuild node_modules/@starfederation/datastar/dist/bundles/datastar.js --bundle --minify --format=esm --legal-comments=none --outfile="$out"
