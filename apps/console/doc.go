// Package console is the page a person opens first: a chat beside the living
// network. Blocks, providers with price and speed, the channel's balance
// ticking down, disputes move by move, and receipts that can be verified on the
// spot.
//
// Start with [New] and mount [Console.Handler] at "/". The page is rendered
// here (templ) and kept alive by server-sent events (Datastar); it loads
// nothing from anywhere else and works without a build step.
//
// Guarantees: text from models and providers is escaped; a page of another
// origin cannot act through it (the gateway's guard stands before it); a page
// that is not open costs nothing.
package console

//go:generate go run github.com/a-h/templ/cmd/templ@v0.3.977 generate
