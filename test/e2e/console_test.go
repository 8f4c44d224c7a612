package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser opens a tab of a headless Chromium and fails the test on requests to
// anywhere else and on errors of the page.
func browser(t *testing.T, base string, width, height int64, dark bool) context.Context {
	t.Helper()
	path := tool(t, "chromium", "chromium-browser", "google-chrome")
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 90*time.Second)
	t.Cleanup(cancel)
	if err := chromedp.Listen(ctx, func(ev any) {
		switch ev := ev.(type) {
		case *network.EventRequestWillBeSent:
			if u := ev.Request.URL; !strings.HasPrefix(u, base) && !strings.HasPrefix(u, "data:") {
				t.Errorf("the page asks for %s", u)
			}
		case *runtime.EventExceptionThrown:
			d := ev.ExceptionDetails
			text := d.Text
			if d.Exception != nil {
				text += " " + d.Exception.Description
			}
			t.Errorf("the page throws: %s", text)
		}
	}); err != nil {
		t.Fatal(err)
	}
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}); err != nil {
		t.Fatal(err)
	}
	do(t, ctx, chromedp.EmulateViewport(width, height))
	return ctx
}

// do runs steps one after the other.
func do(t *testing.T, ctx context.Context, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatal(err)
	}
}

// see runs an action for its value.
func see[T any](t *testing.T, ctx context.Context, a chromedp.Action[T]) T {
	t.Helper()
	v, err := chromedp.Run(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// shoot writes a screenshot where KOINON_SCREENSHOTS points, for people to see.
func shoot(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	dir := os.Getenv("KOINON_SCREENSHOTS")
	if dir == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), see(t, ctx, chromedp.FullScreenshot(100)), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestConsole(t *testing.T) {
	d := sharedNetwork(t)
	for _, c := range []struct {
		name          string
		width, height int64
		dark          bool
	}{{"wide", 1440, 900, false}, {"narrow-dark", 375, 812, true}} {
		t.Run(c.name, func(t *testing.T) {
			ctx := browser(t, d.base(), c.width, c.height, c.dark)
			do(t, ctx, chromedp.Navigate(d.Console), chromedp.WaitVisible("#prompt"), chromedp.Sleep(time.Second))
			shoot(t, ctx, c.name+"-empty")
			before := see(t, ctx, chromedp.Text("#chain dd"))
			do(t, ctx, chromedp.SendKeys("#prompt", "What is a receipt?\r"), chromedp.WaitVisible("#meta-1 .verdict button"))
			shoot(t, ctx, c.name+"-answer")
			if meta := see(t, ctx, chromedp.Text("#meta-1")); !strings.Contains(meta, "koin") {
				t.Errorf("no price under the answer: %q", meta)
			}
			if text := see(t, ctx, chromedp.Text("#text-1")); len(strings.Fields(text)) < 3 {
				t.Errorf("no answer: %q", text)
			}
			if ps := see(t, ctx, chromedp.Text("#providers")); !strings.Contains(ps, "provider-1") || !strings.Contains(ps, "Tokens / s") {
				t.Errorf("the providers are not all to be seen: %q", ps)
			}
			if ds := see(t, ctx, chromedp.Text("#disputes")); !strings.Contains(ds, "koinon devnet --cheat flip-weight") {
				t.Errorf("no next step where nothing is disputed: %q", ds)
			}
			if see(t, ctx, chromedp.Evaluate[bool]("document.documentElement.scrollWidth > document.documentElement.clientWidth")) {
				t.Error("the page scrolls sideways")
			}
			// The verdict by keyboard alone.
			do(t, ctx, chromedp.Focus("#meta-1 .verdict button"), chromedp.KeyEvent("\r"), chromedp.WaitVisible("#meta-1 .verdict.good, #meta-1 .verdict.bad"), chromedp.Sleep(2*time.Second))
			shoot(t, ctx, c.name+"-verified")
			if v := see(t, ctx, chromedp.Text("#meta-1 .verdict")); !strings.Contains(v, "matches") {
				t.Errorf("verdict %q", v)
			}
			if after := see(t, ctx, chromedp.Text("#chain dd")); after == before {
				t.Errorf("the chain stands still at %s", after)
			}
		})
	}
}

// TestConsoleShowsDisputes watches a cheating provider lose, move by move.
func TestConsoleShowsDisputes(t *testing.T) {
	tool(t, "chromium", "chromium-browser", "google-chrome")
	d, err := launch(t, filepath.Join(t.TempDir(), "home"), "--cheat", "flip-weight")
	if err != nil {
		t.Fatal(err)
	}
	defer d.stop(t)
	ctx := browser(t, d.base(), 375, 812, true)
	do(t, ctx, chromedp.Navigate(d.Console), chromedp.WaitVisible("#prompt"), chromedp.SendKeys("#prompt", "What is a receipt?\r"),
		chromedp.WaitVisible("#dispute-1-rounds .shows svg"))
	shoot(t, ctx, "disputes-open")
	if text := see(t, ctx, chromedp.Text("#dispute-1")); !strings.Contains(text, "provider-1") || !strings.Contains(text, "open") || !strings.Contains(text, " left") {
		t.Errorf("an open dispute reads %q", text)
	}
	// What the reader folds by keyboard stays folded while the game goes on.
	do(t, ctx, chromedp.Focus("#dispute-1 summary"), chromedp.KeyEvent("\r"), chromedp.WaitVisible("#dispute-1-head .verdict.bad"))
	if see(t, ctx, chromedp.Evaluate[bool]("document.querySelector('#dispute-1 details').open")) {
		t.Error("the rounds unfolded by themselves")
	}
	do(t, ctx, chromedp.KeyEvent("\r"), chromedp.WaitVisible("#dispute-1-rounds"))
	shoot(t, ctx, "disputes-over")
	text := see(t, ctx, chromedp.Text("#dispute-1"))
	for _, want := range []string{"proven wrong", "did not show the step in time", "Slashed", "500 koin", "Bounty", "nothing"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %q", want, text)
		}
	}
	if see(t, ctx, chromedp.Evaluate[bool]("document.documentElement.scrollWidth > document.documentElement.clientWidth")) {
		t.Error("the page scrolls sideways")
	}
}
