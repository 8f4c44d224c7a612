package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/client"
	"github.com/koinon-network/koinon/infra/payment"
)

// WatchtowerConfig is what the watchtower role needs. All but Log are required.
type WatchtowerConfig struct {
	Dir      string
	Client   *client.Client
	Wallet   *client.Wallet
	Listener net.Listener // closed with the watchtower
	Log      *slog.Logger
}

// Watchtower claims for providers that sleep: they hand it their vouchers, and
// it brings them on chain before a channel ends.
type Watchtower struct {
	*payment.Tower
	server *http.Server
	work   sync.WaitGroup
}

// Bounds of one delivery of vouchers.
const (
	maxDelivery      = 256
	maxDeliveryBytes = 256 << 10
)

// watchtowerInfo is what a watchtower says of itself.
type watchtowerInfo struct {
	Account core.Address `json:"account"` // claims
	ChainID string       `json:"chain_id"`
	Watched int          `json:"watched"` // channels
}

// StartWatchtower opens the vouchers and serves:
//
//	GET  /v1/watchtower
//	POST /v1/vouchers
func StartWatchtower(ctx context.Context, cfg WatchtowerConfig) (*Watchtower, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	t, err := payment.OpenTower(ctx, filepath.Join(cfg.Dir, "tower.db"), cfg.Wallet.Address(), cfg.Client, payment.TowerOptions{Submit: cfg.Wallet.ClaimAs, Log: cfg.Log})
	if err != nil {
		return nil, err
	}
	w := &Watchtower{Tower: t}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/watchtower", func(rw http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(rw).Encode(watchtowerInfo{cfg.Wallet.Address(), cfg.Client.ChainID(), t.Watched()})
	})
	mux.HandleFunc("POST /v1/vouchers", func(rw http.ResponseWriter, r *http.Request) {
		if err := w.take(r.Context(), cfg.Client, cfg.Wallet.Address(), http.MaxBytesReader(rw, r.Body, maxDeliveryBytes)); err != nil {
			http.Error(rw, err.Error(), http.StatusUnprocessableEntity)
		}
	})
	w.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelWarn)}
	w.work.Go(func() {
		if err := w.server.Serve(cfg.Listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
			cfg.Log.Error("the watchtower stopped listening", "err", err)
		}
	})
	return w, nil
}

// take puts a delivery away. The vouchers of providers that have not allowed this
// account to claim are refused: it could do nothing with them.
func (w *Watchtower) take(ctx context.Context, c *client.Client, self core.Address, body io.Reader) error {
	var vs []core.Voucher
	if err := json.NewDecoder(body).Decode(&vs); err != nil {
		return fmt.Errorf("the vouchers cannot be read: %w", err)
	}
	if len(vs) > maxDelivery {
		return fmt.Errorf("%d vouchers, at most %d are taken at once", len(vs), maxDelivery)
	}
	allowed := map[core.Address]bool{}
	var all []error
	for _, v := range vs {
		ch, err := c.Channel(ctx, v.Channel)
		if err == nil && !allowed[ch.Provider] {
			var ok bool
			if _, ok, err = c.ClaimsAllowed(ctx, ch.Provider, self); err == nil && !ok {
				err = fmt.Errorf("%s has not allowed %s to claim", ch.Provider, self)
			}
			allowed[ch.Provider] = err == nil
		}
		if err == nil {
			err = w.Put(ctx, v)
		}
		if err != nil {
			all = append(all, fmt.Errorf("channel %s: %w", v.Channel.Short(), err))
		}
	}
	return errors.Join(all...)
}

// Close stops the watchtower.
func (w *Watchtower) Close() error {
	err := w.server.Close()
	w.work.Wait()
	return errors.Join(err, w.Tower.Close())
}

const (
	// deliverEvery is how often a provider hands over new vouchers.
	deliverEvery = 2 * time.Second
	// allowFor is how long a watchtower may claim for a provider.
	allowFor = 365 * 24 * time.Hour
)

// watchtower allows a watchtower to claim and hands it the till's vouchers.
type watchtower struct {
	url  string
	till *payment.Till
	http http.Client
	sent map[core.ChannelID]core.Amount
}

func newWatchtower(ctx context.Context, url string, t *payment.Till, c *client.Client, w *client.Wallet) (*watchtower, error) {
	d := &watchtower{url: strings.TrimSuffix(url, "/"), till: t, http: http.Client{Timeout: 20 * time.Second}, sent: map[core.ChannelID]core.Amount{}}
	unusable := func(err error) error {
		return &core.Error{Code: core.CodeUnavailable, Message: "the watchtower " + url + " cannot be used", Next: "start one with: koinon watchtower start", Err: err}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url+"/v1/watchtower", nil)
	if err != nil {
		return nil, unusable(err)
	}
	resp, err := d.http.Do(req)
	if err != nil {
		return nil, unusable(err)
	}
	defer resp.Body.Close()
	var info watchtowerInfo
	if err := json.NewDecoder(io.LimitReader(resp.Body, 4096)).Decode(&info); err != nil || resp.StatusCode != http.StatusOK {
		return nil, unusable(cmpErr(err, resp.Status))
	}
	if info.ChainID != c.ChainID() {
		return nil, unusable(fmt.Errorf("it watches the chain %q, not %q", info.ChainID, c.ChainID()))
	}
	until, ok, err := c.ClaimsAllowed(ctx, w.Address(), info.Account)
	if err != nil {
		return nil, err
	}
	if !ok || time.Until(until) < allowFor/4 {
		if err := w.AllowClaims(ctx, info.Account, time.Now().Add(allowFor)); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func cmpErr(err error, status string) error {
	if err != nil {
		return err
	}
	return errors.New(status)
}

// deliver hands over what is new until ctx ends.
func (d *watchtower) deliver(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(deliverEvery)
	defer tick.Stop()
	for {
		if err := d.once(ctx); err != nil && ctx.Err() == nil {
			log.Warn("vouchers not handed to the watchtower", "err", err)
		}
		select {
		case <-ctx.Done(): // the machine goes to sleep: once more
			last, stop := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
			defer stop()
			if err := d.once(last); err != nil {
				log.Warn("the last vouchers were not handed to the watchtower", "err", err)
			}
			return
		case <-tick.C:
		}
	}
}

func (d *watchtower) once(ctx context.Context) error {
	var news []core.Voucher
	for _, v := range d.till.Vouchers() {
		if v.Amount.Cmp(d.sent[v.Channel]) > 0 && len(news) < maxDelivery {
			news = append(news, v)
		}
	}
	if len(news) == 0 {
		return nil
	}
	b, err := json.Marshal(news)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url+"/v1/vouchers", bytes.NewReader(b))
	if err != nil {
		return err
	}
	resp, err := d.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
		return fmt.Errorf("%s: %s", resp.Status, why)
	}
	for _, v := range news {
		d.sent[v.Channel] = v.Amount
	}
	return nil
}
