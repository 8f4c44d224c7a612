// Command koinon is the whole of Koinon in one binary: an AI cloud that nobody
// owns. Start with `koinon devnet`.
package main

import (
	"os"

	"github.com/koinon-network/koinon/node/command"
)

func main() { os.Exit(command.Main()) }
