// Cuts texts into words by the regular expressions of the models' authors, as
// V8 executes them: for each job read from standard input, {"stages": [...],
// "texts": [...]}, one line {"words": [[...], ...]}. Each expression cuts the
// pieces that the one before left, into its matches and what lies between.
import {readFileSync} from "node:fs";

const cut = (pieces, expression) => pieces.flatMap((piece) => {
    const out = [];
    let end = 0;
    for (const match of piece.matchAll(expression)) {
        if (match[0] === "") continue;
        if (match.index > end) out.push(piece.slice(end, match.index));
        out.push(match[0]);
        end = match.index + match[0].length;
    }
    if (end < piece.length) out.push(piece.slice(end));
    return out;
});

for (const job of JSON.parse(readFileSync(0, "utf8"))) {
    // \s is Unicode's White_Space in the authors' engines, which ECMAScript's is not.
    const stages = job.stages.map((source) => new RegExp(source.replaceAll("[^\\s", "[^\\p{White_Space}").replaceAll("\\s", "\\p{White_Space}")
        .replaceAll("\\S", "\\P{White_Space}"), "gu"));
    const words = job.texts.map((text) => stages.reduce(cut, [text]));
    console.log(JSON.stringify({words}));
}
