package p2p

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/host/peerstore/pstoremem"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multistream"

	"github.com/koinon-network/koinon/core"
)

// Protocols that a host may speak.
const (
	ProtocolInfer    = protocol.ID("/koinon/infer/1.0.0")
	ProtocolBlob     = protocol.ID("/koinon/blob/1.0.0")
	ProtocolEvidence = protocol.ID("/koinon/evidence/1.0.0")
)

// Config is what a host needs. Key is required; every zero field takes the
// value named beside it.
type Config struct {
	Key    ed25519.PrivateKey // the node's identity
	Listen []string           // multiaddresses, TCP only; none: dial only

	Dial        time.Duration // 2 s: to reach a peer, handshake included
	Admission   time.Duration // 5 s: from request to Accepted
	Heartbeat   time.Duration // 1 s: a frame is sent at least this often
	Silence     time.Duration // 4 s: without a frame a peer counts as hung
	Stall       time.Duration // 60 s: without a token a live provider counts as hung
	Slow        time.Duration // 10 s: a peer must make room for a frame
	PeerStreams int           // 128: exchanges of one peer at a time
	PeerRate    float64       // 200: new streams of one peer per second
	Connections int           // 512: peers connected at a time
}

func (c Config) withDefaults() (Config, error) {
	if len(c.Key) != ed25519.PrivateKeySize {
		return c, errors.New("p2p: an ed25519 private key is required")
	}
	for _, d := range []struct {
		v *time.Duration
		d time.Duration
	}{
		{&c.Dial, 2 * time.Second}, {&c.Admission, 5 * time.Second}, {&c.Heartbeat, time.Second},
		{&c.Silence, 4 * time.Second}, {&c.Stall, time.Minute}, {&c.Slow, 10 * time.Second},
	} {
		if *d.v <= 0 {
			*d.v = d.d
		}
	}
	if c.PeerStreams <= 0 {
		c.PeerStreams = 128
	}
	if c.PeerRate <= 0 {
		c.PeerRate = 200
	}
	if c.Connections <= 0 {
		c.Connections = 512
	}
	if c.Silence < 2*c.Heartbeat {
		return c, errors.New("p2p: Silence must be at least two heartbeats")
	}
	return c, nil
}

// Host is one libp2p node. Its methods are safe for concurrent use.
type Host struct {
	cfg   Config
	id    peer.ID
	net   *swarm.Swarm
	mux   *multistream.MultistreamMuxer[protocol.ID]
	conns *connmgr.BasicConnMgr
	store peerstore.Peerstore
	doors *doors

	ctx    context.Context // ends when Close begins
	cancel context.CancelFunc

	mu     sync.Mutex
	closed bool
	busy   sync.WaitGroup // stream handlers and exchanges
}

// begin registers something that Close waits for; false when it is too late.
func (h *Host) begin() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.busy.Add(1)
	}
	return !h.closed
}

// New opens a host and listens. Close it to free its sockets.
func New(cfg Config) (*Host, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	key, err := crypto.UnmarshalEd25519PrivateKey(cfg.Key)
	if err != nil {
		return nil, err
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return nil, err
	}
	store, err := pstoremem.NewPeerstore()
	if err != nil {
		return nil, err
	}
	store.AddPrivKey(id, key)
	store.AddPubKey(id, key.GetPublic())

	h := &Host{cfg: cfg, id: id, store: store, mux: multistream.NewMultistreamMuxer[protocol.ID](), doors: newDoors(cfg)}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	if err := h.open(key); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// open builds the stack by hand: the ready-made constructor would bring QUIC,
// WebRTC, relays and address discovery along.
func (h *Host) open(key crypto.PrivKey) (err error) {
	resources, err := rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(limits(h.cfg)), rcmgr.WithMetricsDisabled(),
		rcmgr.WithLimitPerSubnet([]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: 32}}, nil))
	if err != nil {
		return err
	}
	h.net, err = swarm.NewSwarm(h.id, h.store, eventbus.NewBus(), swarm.WithResourceManager(resources),
		swarm.WithDialTimeout(h.cfg.Dial), swarm.WithDialTimeoutLocal(h.cfg.Dial))
	if err != nil {
		resources.Close()
		return err
	}
	muxers := []upgrader.StreamMuxer{{ID: yamux.ID, Muxer: multiplexer()}}
	secure, err := noise.New(noise.ID, key, muxers)
	if err != nil {
		return err
	}
	up, err := upgrader.New([]sec.SecureTransport{secure}, muxers, nil, resources, nil, upgrader.WithAcceptTimeout(5*time.Second))
	if err != nil {
		return err
	}
	transport, err := tcp.NewTCPTransport(up, resources, nil, tcp.DisableReuseport(), tcp.WithConnectionTimeout(h.cfg.Dial))
	if err != nil {
		return err
	}
	if err := h.net.AddTransport(transport); err != nil {
		return err
	}
	if h.conns, err = connmgr.NewConnManager(h.cfg.Connections*3/4, h.cfg.Connections); err != nil {
		return err
	}
	h.net.Notify(h.conns.Notifee())
	h.net.SetStreamHandler(h.receive)
	for _, a := range h.cfg.Listen {
		m, err := ma.NewMultiaddr(a)
		if err != nil {
			return fmt.Errorf("p2p: %q is no multiaddress such as /ip4/127.0.0.1/tcp/4001: %w", a, err)
		}
		if err := h.net.Listen(m); err != nil {
			return fmt.Errorf("p2p: cannot listen on %s: %w", a, err)
		}
	}
	return nil
}

// multiplexer is yamux with windows that fit token streams, and keep-alives
// that drop a dead idle connection within 15 s.
func multiplexer() network.Multiplexer {
	t := *yamux.DefaultTransport
	t.MaxStreamWindowSize = 2 << 20
	t.KeepAliveInterval = 10 * time.Second
	t.ConnectionWriteTimeout = 5 * time.Second
	t.MeasureRTTInterval = 5 * time.Minute
	return &t
}

// limits bounds what strangers may occupy.
func limits(c Config) rcmgr.ConcreteLimitConfig {
	peer := rcmgr.ResourceLimits{
		Conns: 4, ConnsInbound: 4, ConnsOutbound: 4, FD: 4, Memory: 256 << 20,
		Streams: rcmgr.LimitVal(4 * c.PeerStreams), StreamsInbound: rcmgr.LimitVal(2 * c.PeerStreams), StreamsOutbound: rcmgr.LimitVal(2 * c.PeerStreams),
	}
	system := rcmgr.ResourceLimits{
		Conns: rcmgr.LimitVal(c.Connections), ConnsInbound: rcmgr.LimitVal(c.Connections), ConnsOutbound: rcmgr.LimitVal(c.Connections),
		FD: rcmgr.LimitVal(c.Connections), Memory: 1 << 30, Streams: 16384, StreamsInbound: 8192, StreamsOutbound: 8192,
	}
	transient := system
	transient.Conns, transient.ConnsInbound, transient.ConnsOutbound, transient.Memory = 128, 64, 64, 256<<20
	transient.Streams, transient.StreamsInbound, transient.StreamsOutbound = 4096, 2048, 2048
	perPeer := rcmgr.ResourceLimits{Streams: peer.Streams, StreamsInbound: peer.StreamsInbound, StreamsOutbound: peer.StreamsOutbound, Memory: peer.Memory}
	all := rcmgr.ResourceLimits{Streams: system.Streams, StreamsInbound: system.StreamsInbound, StreamsOutbound: system.StreamsOutbound, Memory: system.Memory}
	return rcmgr.PartialLimitConfig{
		System: system, Transient: transient, PeerDefault: peer,
		ProtocolDefault: all, ProtocolPeerDefault: perPeer, ServiceDefault: all, ServicePeerDefault: perPeer,
		Conn:   rcmgr.ResourceLimits{Conns: 1, ConnsInbound: 1, ConnsOutbound: 1, FD: 1, Memory: 64 << 20},
		Stream: rcmgr.ResourceLimits{Streams: 1, StreamsInbound: 1, StreamsOutbound: 1, Memory: 64 << 20},
	}.Build(rcmgr.DefaultLimits.Scale(math.MaxInt32, 0))
}

// PeerID is the host's libp2p identity in text.
func (h *Host) PeerID() string { return h.id.String() }

// Addrs lists the multiaddresses on which the host can be reached, wildcard
// addresses resolved to those of the machine's interfaces.
func (h *Host) Addrs() []string {
	as, err := h.net.InterfaceListenAddresses()
	if err != nil {
		as = h.net.ListenAddresses()
	}
	out := make([]string, len(as))
	for i, a := range as {
		out[i] = a.String()
	}
	return out
}

// Peers lists the ids of the connected peers.
func (h *Host) Peers() []string {
	ps := h.net.Peers()
	out := make([]string, len(ps))
	for i, p := range ps {
		out[i] = p.String()
	}
	return out
}

// Close ends every exchange and frees the sockets. It returns when the last
// handler has returned.
func (h *Host) Close() error {
	h.mu.Lock()
	again := h.closed
	h.closed = true
	h.mu.Unlock()
	if again {
		return nil
	}
	h.cancel()
	if h.net != nil {
		h.net.Close()
		h.net.ResourceManager().Close()
	}
	if h.conns != nil {
		h.conns.Close()
	}
	h.busy.Wait()
	return h.store.Close()
}

// receive negotiates the protocol of an incoming stream and runs its handler.
func (h *Host) receive(s network.Stream) {
	if !h.begin() {
		s.Reset()
		return
	}
	defer h.busy.Done()
	s.SetDeadline(time.Now().Add(5 * time.Second))
	id, handle, err := h.mux.Negotiate(s)
	if err != nil || s.SetProtocol(id) != nil {
		s.ResetWithError(network.StreamProtocolNegotiationFailed)
		return
	}
	s.SetDeadline(time.Time{})
	handle(id, s)
}

// handle installs the handler of a protocol.
func (h *Host) handle(id protocol.ID, f func(s network.Stream)) {
	h.mux.AddHandler(id, func(_ protocol.ID, rwc multistreamConn) error {
		f(rwc.(network.Stream))
		return nil
	})
}

// dial opens a stream to a provider under the peer id it registered; whoever
// answers at its addresses without that key is refused by the handshake.
func (h *Host) dial(ctx context.Context, p core.Provider, id protocol.ID) (*wire, error) {
	pid, err := peer.Decode(p.PeerID)
	if err != nil {
		return nil, broken(p, "registered a malformed peer id")
	}
	if pid == h.id {
		return nil, core.Errorf(core.CodeInvalid, "%s is this very node", name(p))
	}
	var addrs []ma.Multiaddr
	for _, a := range p.Addrs {
		if m, err := ma.NewMultiaddr(a); err == nil {
			addrs = append(addrs, m)
		}
	}
	h.store.AddAddrs(pid, addrs, peerstore.TempAddrTTL)
	// A caller who asks again has decided to; do not answer from memory.
	h.net.Backoff().Clear(pid)
	ctx, cancel := context.WithTimeout(ctx, h.cfg.Dial)
	defer cancel()
	s, err := h.net.NewStream(network.WithDialPeerTimeout(ctx, h.cfg.Dial), pid)
	if err != nil {
		return nil, &core.Error{Code: core.CodeProvider, Message: name(p) + " cannot be reached", Err: err}
	}
	if err := s.SetProtocol(id); err != nil {
		s.Reset()
		return nil, &core.Error{Code: core.CodeBusy, Message: "too many streams are open to " + name(p), Err: err, RetryAfter: time.Second}
	}
	return newWire(s, multistream.NewMSSelect(s, id)), nil
}

// protect keeps the connection manager from closing the peer's connections
// until the returned function is called.
func (h *Host) protect(p peer.ID, tag string) func() {
	h.conns.Protect(p, tag)
	return func() { h.conns.Unprotect(p, tag) }
}

// name is how errors call a provider.
func name(p core.Provider) string {
	if p.Moniker != "" {
		return "provider " + truncate(p.Moniker, 40)
	}
	return "provider " + p.Address.String()
}

// broken is a provider's broken promise.
func broken(p core.Provider, format string, args ...any) *core.Error {
	return core.Errorf(core.CodeProvider, "%s %s", name(p), fmt.Sprintf(format, args...))
}

func truncate(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// PeerKey returns the ed25519 public key inside a peer id: the provider's VRF
// key.
func PeerKey(peerID string) (ed25519.PublicKey, error) {
	id, err := peer.Decode(peerID)
	if err != nil {
		return nil, err
	}
	k, err := id.ExtractPublicKey()
	if err != nil {
		return nil, err
	}
	if k.Type() != crypto.Ed25519 {
		return nil, errors.New("the peer id holds no ed25519 key")
	}
	return k.Raw()
}

// PeerID returns the libp2p peer id of an ed25519 public key.
func PeerID(key ed25519.PublicKey) (string, error) {
	k, err := crypto.UnmarshalEd25519PublicKey(key)
	if err != nil {
		return "", err
	}
	id, err := peer.IDFromPublicKey(k)
	return id.String(), err
}
