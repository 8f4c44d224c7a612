// Command x402go buys an answer with the stock Go client of x402:
//
//	go run . API MODEL 0xPRIVATEKEY
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	x402 "github.com/x402-foundation/x402/go"
	x402http "github.com/x402-foundation/x402/go/http"
	evm "github.com/x402-foundation/x402/go/mechanisms/evm/exact/client"
	signers "github.com/x402-foundation/x402/go/signers/evm"
)

func main() {
	signer, err := signers.NewClientSignerFromPrivateKey(os.Args[3])
	check(err)
	wallet := x402.Newx402Client()
	wallet.Register("eip155:564666", evm.NewExactEvmScheme(signer, nil))
	client := x402http.WrapHTTPClientWithPayment(http.DefaultClient, x402http.Newx402HTTPClient(wallet))
	body := fmt.Sprintf(`{"model":%q,"max_tokens":16,"messages":[{"role":"user","content":"What is a receipt?"}]}`, os.Args[2])
	r, err := client.Post(os.Args[1]+"/chat/completions", "application/json", strings.NewReader(body))
	check(err)
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	check(err)
	if r.StatusCode != http.StatusOK || r.Header.Get("Payment-Response") == "" {
		check(fmt.Errorf("%s: %s", r.Status, b))
	}
	fmt.Println("ok")
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
