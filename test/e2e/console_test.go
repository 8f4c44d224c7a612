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
			t.Errorf("the page throws: %s", ev.ExceptionDetails.Error())
		}
	}); err != nil {
		t.Fatal(err)
	}
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	if err := chromedp.Run(ctx, network.Enable(), emulation.SetDeviceMetricsOverride(width, height, 1, width < 500),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}})); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// shoot writes a screenshot where KOINON_SCREENSHOTS points, for people to see.
func shoot(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	dir := os.Getenv("KOINON_SCREENSHOTS")
	if dir == "" {
		return
	}
	var png []byte
	if err := chromedp.Run(ctx, chromedp.FullScreenshot(&png, 100)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600); err != nil {
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
			var overflow bool
			var height1, height2, meta, verdict, providers string
			if err := chromedp.Run(ctx,
				chromedp.Navigate(d.Console),
				chromedp.WaitVisible("#prompt"),
				chromedp.Text("#chain dd", &height1),
				chromedp.SendKeys("#prompt", "What is a receipt?\r"),
				chromedp.WaitVisible("#meta-1 .verdict button"),
				chromedp.Text("#meta-1", &meta),
				chromedp.Text("#providers", &providers),
				chromedp.Evaluate(`document.documentElement.scrollWidth > document.documentElement.clientWidth`, &overflow),
			); err != nil {
				t.Fatal(err)
			}
			shoot(t, ctx, c.name+"-answer")
			if !strings.Contains(meta, "koin") || !strings.Contains(providers, "provider-1") || overflow {
				t.Errorf("meta %q, providers %q, sideways scrolling %v", meta, providers, overflow)
			}
			if err := chromedp.Run(ctx,
				chromedp.Focus("#meta-1 .verdict button"),
				chromedp.KeyEvent("\r"), // by keyboard
				chromedp.WaitVisible("#meta-1 .verdict.good, #meta-1 .verdict.bad"),
				chromedp.Text("#meta-1 .verdict", &verdict),
				chromedp.Sleep(2*time.Second),
				chromedp.Text("#chain dd", &height2),
			); err != nil {
				t.Fatal(err)
			}
			shoot(t, ctx, c.name+"-verified")
			if !strings.Contains(verdict, "matches") {
				t.Errorf("verdict %q", verdict)
			}
			if height1 == height2 {
				t.Errorf("the chain stands still at %s", height1)
			}
		})
	}
}
