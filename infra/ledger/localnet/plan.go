package localnet

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/cometbft/cometbft/p2p"
	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/app"
	"github.com/koinon-network/koinon/infra/ledger/fullnode"
	"github.com/koinon-network/koinon/infra/ledger/rpc"
)

// Stake and pocket money of each validator's operator at genesis, in koin.
const (
	bondKoin     = 1_000_000
	operatorKoin = 10_000
)

// plan is what a network keeps between starts. Its file is written when all
// else is in place: without it, a start begins anew.
type plan struct {
	ChainID   string        `json:"chain_id"`
	Members   []member      `json:"validators"`
	Endpoints rpc.Endpoints `json:"endpoints"`
}

type member struct {
	Moniker  string       `json:"moniker"`
	Peer     p2p.ID       `json:"peer"`
	Port     int          `json:"port"`
	Operator core.Address `json:"operator"`
}

func (m member) address() string { return fmt.Sprintf("127.0.0.1:%d", m.Port) }

// plan reads the folder's plan, or makes keys, genesis and a plan.
func (n *Net) plan(o Options) (*plan, error) {
	raw, err := os.ReadFile(n.planFile())
	if errors.Is(err, os.ErrNotExist) {
		return n.create(o)
	} else if err != nil {
		return nil, fmt.Errorf("cannot read the network's plan: %w", err)
	}
	p := new(plan)
	if err := json.Unmarshal(raw, p); err != nil || len(p.Members) == 0 {
		return nil, &core.Error{Code: core.CodeInvalid, Message: n.planFile() + " is damaged", Next: "start anew with --reset", Err: err}
	}
	if p.ChainID != o.ChainID {
		return nil, &core.Error{Code: core.CodeInvalid, Message: fmt.Sprintf("%s holds the chain %s, not %s", n.home, p.ChainID, o.ChainID), Next: "choose another --home, or start anew with --reset"}
	}
	if len(p.Members) != o.Validators {
		return nil, &core.Error{Code: core.CodeInvalid, Message: fmt.Sprintf("the network in %s has %d validators, not %d", n.home, len(p.Members), o.Validators), Next: fmt.Sprintf("start with --validators %d, or anew with --reset", len(p.Members))}
	}
	p.Endpoints = merge(o.Endpoints, p.Endpoints)
	return p, nil
}

func (n *Net) create(o Options) (*plan, error) {
	n.Fresh = true
	if err := os.RemoveAll(filepath.Join(n.home, "validators")); err != nil {
		return nil, fmt.Errorf("cannot clear a half-made network: %w", err)
	}
	g, err := app.NewGenesis(o.ChainID)
	if err != nil {
		return nil, err
	}
	p := &plan{ChainID: o.ChainID, Endpoints: o.Endpoints}
	for i := range o.Validators {
		m, err := n.createMember(g, i)
		if err != nil {
			return nil, err
		}
		p.Members = append(p.Members, m)
	}
	if o.Genesis != nil {
		if err := o.Genesis(g); err != nil {
			return nil, err
		}
	}
	doc, err := g.Document()
	if err != nil {
		return nil, err
	}
	return p, n.writeGenesis(doc, o.Validators)
}

func (n *Net) createMember(g *app.Genesis, i int) (m member, err error) {
	home := n.validatorHome(i)
	pv, id, err := fullnode.Init(home)
	if err != nil {
		return m, err
	}
	consensus, err := pv.GetPubKey()
	if err != nil {
		return m, err
	}
	operator, err := fullnode.InitOperator(home)
	if err != nil {
		return m, err
	}
	chance, err := fullnode.BeaconKey(home)
	if err != nil {
		return m, err
	}
	m = member{Moniker: fmt.Sprintf("validator-%d", i), Peer: id, Operator: operator}
	g.AddValidator(app.Validator{Moniker: m.Moniker, Key: consensus, Operator: m.Operator, Bond: core.Koin(bondKoin), Beacon: chance.PublicKey()})
	g.Credit(m.Operator, core.Koin(operatorKoin))
	return m, nil
}

func (n *Net) writeGenesis(doc *cmttypes.GenesisDoc, validators int) error {
	for i := range validators {
		if err := doc.SaveAs(fullnode.GenesisFile(n.validatorHome(i))); err != nil {
			return fmt.Errorf("cannot write the genesis document: %w", err)
		}
	}
	return nil
}

// merge prefers what the caller fixes; where he leaves the port open, what was
// in use before, if it is still free.
func merge(want, had rpc.Endpoints) rpc.Endpoints {
	pick := func(want, had string) string {
		if openPort(want) && had != "" && free(had) {
			return had
		}
		return want
	}
	return rpc.Endpoints{
		Comet: pick(want.Comet, had.Comet), GRPC: pick(want.GRPC, had.GRPC),
		REST: pick(want.REST, had.REST), EVM: pick(want.EVM, had.EVM),
	}
}

func openPort(address string) bool {
	_, port, err := net.SplitHostPort(address)
	return err == nil && port == "0"
}

func free(address string) bool {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// Ports for listeners that CometBFT opens itself, some time after they were
// chosen here. They lie below those that operating systems hand out, so that no
// outgoing connection takes one in between.
const (
	lowestPort = 20000
	ports      = 12000
)

// hold listens on the host of address, on its port or, where that is 0 or in
// use, on another one.
func hold(address string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if port != "0" {
		if l, err := net.Listen("tcp", address); err == nil {
			return l, nil
		}
	}
	for range 100 {
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(lowestPort+rand.IntN(ports))))
		if err == nil {
			return l, nil
		}
	}
	return nil, &core.Error{Code: core.CodeUnavailable, Message: "no free port on " + host, Next: "stop other programs"}
}

// addresses gives every member a free port, its former one if possible, and
// returns the addresses by which the others reach it. CometBFT binds its own
// listeners, so its ports are tried here and let go.
func (p *plan) addresses() ([]string, error) {
	var held []net.Listener
	defer func() {
		for _, l := range held {
			_ = l.Close()
		}
	}()
	if p.Endpoints.Comet != "" {
		listen := hold
		if !openPort(p.Endpoints.Comet) { // the caller's choice
			listen = func(address string) (net.Listener, error) { return rpc.Listen("CometBFT RPC", address) }
		}
		l, err := listen(p.Endpoints.Comet)
		if err != nil {
			return nil, err
		}
		held, p.Endpoints.Comet = append(held, l), l.Addr().String()
	}
	peers := make([]string, len(p.Members))
	for i := range p.Members {
		m := &p.Members[i]
		l, err := hold(m.address())
		if err != nil {
			return nil, err
		}
		held, m.Port = append(held, l), l.Addr().(*net.TCPAddr).Port
		peers[i] = string(m.Peer) + "@" + m.address()
	}
	return peers, nil
}

// save replaces the file in one step.
func (p *plan) save(path string) error {
	raw, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", append(raw, '\n'), 0o600); err != nil {
		return fmt.Errorf("cannot write the network's plan: %w", err)
	}
	return os.Rename(path+".new", path)
}
