package localnet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/rpc"
)

type answer struct {
	Result json.RawMessage
	Error  *struct {
		Code    int
		Message string
	}
}

func call(t *testing.T, evm, method string, params ...any) (a answer) {
	t.Helper()
	if params == nil {
		params = []any{}
	}
	body, _ := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	res, err := http.Post("http://"+evm, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&a); err != nil {
		t.Fatal(method, err)
	}
	return a
}

func get(t *testing.T, url string) string {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestServesWalletsAndPrograms(t *testing.T) {
	alice := newWallet(1)
	free := "127.0.0.1:0"
	n := start(t, Options{
		Home: t.TempDir(), Validators: 1, BlockTime: 200 * time.Millisecond, Genesis: credit(core.Koin(3), alice),
		Endpoints: rpc.Endpoints{Comet: free, GRPC: free, REST: free, EVM: free},
	})
	e := n.Endpoints
	if got := string(call(t, e.EVM, "eth_chainId").Result); got != `"0x89dba"` {
		t.Errorf("eth_chainId: %s", got)
	}
	if got := string(call(t, e.EVM, "eth_getBalance", alice.address(), "latest").Result); got != `"0x29a2241af62c0000"` {
		t.Errorf("eth_getBalance: %s", got)
	}
	if a := call(t, e.EVM, "eth_fillTransaction", map[string]any{"from": alice.address()}); a.Error == nil || a.Error.Code != -32601 {
		t.Errorf("eth_fillTransaction: %s %v", a.Result, a.Error)
	}
	if a := call(t, e.EVM, "personal_listAccounts"); a.Error == nil {
		t.Error("the node offers to keep accounts")
	}
	began := time.Now()
	if a := call(t, e.EVM, "eth_call", map[string]any{"data": "0x5b600056"}, "latest"); a.Error == nil || time.Since(began) > 20*time.Second {
		t.Errorf("an endless loop answered %s after %v", a.Result, time.Since(began))
	}
	if got := get(t, "http://"+e.REST+"/cosmos/bank/v1beta1/denoms_metadata/akoin"); !strings.Contains(got, `"display":"koin"`) {
		t.Errorf("REST: %s", got)
	}
	if got := get(t, "http://"+e.Comet+"/status"); !strings.Contains(got, n.ChainID) {
		t.Errorf("CometBFT RPC: %s", got)
	}
	conn, err := grpc.NewClient(e.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	res, err := banktypes.NewQueryClient(conn).Balance(t.Context(), &banktypes.QueryBalanceRequest{Address: alice.account().String(), Denom: core.BaseDenom})
	if err != nil || res.Balance.Amount.String() != "3000000000000000000" {
		t.Errorf("gRPC: %v %v", res, err)
	}

	ws, _, err := websocket.DefaultDialer.Dial("ws://"+e.EVM, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	if err := ws.WriteMessage(websocket.TextMessage, []byte(`{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}`)); err != nil {
		t.Fatal(err)
	}
	_ = ws.SetReadDeadline(time.Now().Add(10 * time.Second))
	for heads := 0; heads < 2; {
		_, b, err := ws.ReadMessage()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), `"eth_subscription"`) {
			heads++
		}
	}
	if _, _, err := websocket.DefaultDialer.Dial("ws://"+e.EVM, http.Header{"Origin": {"http://evil.example"}}); err == nil {
		t.Error("any web page may subscribe")
	}

	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ws.ReadMessage(); err == nil {
		t.Error("a subscription outlives the network")
	}
	for _, at := range []string{e.Comet, e.GRPC, e.REST, e.EVM} {
		l, err := net.Listen("tcp", at)
		if err != nil {
			t.Error(fmt.Errorf("the port is not free after the stop: %w", err))
			continue
		}
		_ = l.Close()
	}
}
