package gateway

import (
	"testing"
	"time"

	"github.com/koinon-network/koinon/core"
)

// TestStakeLimitsWhatAProviderIsAsked: answers that can be disputed count
// against what the stake covers, whoever knows of them, until they are final.
func TestStakeLimitsWhatAProviderIsAsked(t *testing.T) {
	r := NewRouter()
	now := time.Unix(1_800_000_000, 0)
	r.now = func() time.Time { return now }
	p := core.Provider{Address: core.Address{1}, Cover: core.NewAmount(100)}
	covered := func(price uint64) bool { return r.covered(candidate{provider: p}, core.NewAmount(price)) }
	if !covered(100) || covered(101) {
		t.Error("a fresh provider is limited by its cover")
	}
	for range 60 { // a minute apart
		r.owed(p.Address, core.NewAmount(1), now.Add(24*time.Hour))
		now = now.Add(time.Minute)
	}
	if !covered(40) || covered(41) {
		t.Error("own answers do not count")
	}
	if n := len(r.record(p.Address).open); n > 7 {
		t.Errorf("an hour is remembered in %d parts", n)
	}
	p.Exposure = core.NewAmount(70) // other gateways' too
	if !covered(30) || covered(31) {
		t.Error("what the chain knows does not count")
	}
	p.Exposure = core.NewAmount(10)
	now = now.Add(23*time.Hour + 30*time.Minute)
	if covered(100) || !covered(60) {
		t.Error("answers of half an hour are final")
	}
	now = now.Add(time.Hour)
	if !covered(90) || covered(91) {
		t.Error("all answers are final, and the chain's part remains")
	}
	p.Cover = core.Amount{}
	if !covered(1 << 60) {
		t.Error("a provider without known stake is limited")
	}
}
