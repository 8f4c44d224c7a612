package console

import "fmt"

// The views are plain values: what the templates print, already worded.

type pageView struct {
	Session string
	Assets  string
	Models  []string
	Network networkView
}

type networkView struct {
	Problem    string
	ChainID    string
	Height     string
	Validators int
	BlockTime  string
	Blocks     []blockView
	Providers  []providerView
	Channels   []channelView
	Spent      string
	Receipts   []receiptView
	Disputes   []disputeView
}

type blockView struct {
	Height   int64
	Time     int64   // Unix milliseconds
	Interval float64 // seconds since the block before
}

type providerView struct {
	Moniker, Address, Price, Speed, Success, State string
	Busy                                           bool
}

type channelView struct {
	Provider, ID, Deposit, Left, State, Problem string
	Share                                       int // percent left
}

type receiptView struct {
	ID, Provider, Tokens, Cost, Time string
}

type metaView struct {
	Provider, Cost, Tokens, Seconds, Receipt string
	Tried                                    int
}

type failureView struct {
	Cause, Next, Charge string
}

// samples are questions for an empty page.
var samples = []string{"What is Koinon?", "What is a receipt?", "Who pays the provider?", "How do I verify an answer?"}

// bar places block i of n in the strip's picture: x, height and y of its bar.
func bar(bs []blockView, i int) (x, y, h string) {
	longest := 1.0
	for _, b := range bs {
		longest = max(longest, b.Interval)
	}
	height := 6 + 30*bs[i].Interval/longest
	return fmt.Sprint(i * 8), fmt.Sprintf("%.1f", 40-height), fmt.Sprintf("%.1f", height)
}

func short(id string) string { return id[:min(8, len(id))] }

func first(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[0]
}
