package app

import (
	"google.golang.org/protobuf/reflect/protoreflect"

	antetypes "github.com/cosmos/evm/ante/types"
	evmcryptocodec "github.com/cosmos/evm/crypto/codec"
	evmaddress "github.com/cosmos/evm/encoding/address"
	evmtypes "github.com/cosmos/evm/x/vm/types"
	"github.com/cosmos/gogoproto/proto"

	"cosmossdk.io/core/address"

	"github.com/cosmos/cosmos-sdk/client"
	"github.com/cosmos/cosmos-sdk/codec"
	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	"github.com/cosmos/cosmos-sdk/std"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/tx"
	authtx "github.com/cosmos/cosmos-sdk/x/auth/tx"
	txsigning "github.com/cosmos/cosmos-sdk/x/tx/signing"
)

// Encoding turns messages, transactions and state into bytes and back.
type Encoding struct {
	Registry codectypes.InterfaceRegistry
	Codec    codec.Codec
	Amino    *codec.LegacyAmino
	Tx       client.TxConfig
}

// AccountCodec reads koinon1... and 0x..., and writes koinon1...
func AccountCodec() address.Codec { return evmaddress.NewEvmCodec(Bech32Prefix) }

// ValidatorCodec reads and writes koinonvaloper1...
func ValidatorCodec() address.Codec {
	return evmaddress.NewEvmCodec(sdk.GetConfig().GetBech32ValidatorAddrPrefix())
}

// ConsensusCodec reads and writes koinonvalcons1...
func ConsensusCodec() address.Codec {
	return evmaddress.NewEvmCodec(sdk.GetConfig().GetBech32ConsensusAddrPrefix())
}

func newEncoding() (Encoding, error) {
	registry, err := codectypes.NewInterfaceRegistryWithOptions(codectypes.InterfaceRegistryOptions{
		ProtoFiles: proto.HybridResolver,
		SigningOptions: txsigning.Options{
			AddressCodec:          AccountCodec(),
			ValidatorAddressCodec: ValidatorCodec(),
			CustomGetSigners: map[protoreflect.FullName]txsigning.GetSignersFunc{
				evmtypes.MsgEthereumTxCustomGetSigner.MsgType: evmtypes.MsgEthereumTxCustomGetSigner.Fn,
			},
		},
	})
	if err != nil {
		return Encoding{}, err
	}
	cdc, amino := codec.NewProtoCodec(registry), codec.NewLegacyAmino()
	std.RegisterInterfaces(registry)
	evmcryptocodec.RegisterInterfaces(registry)
	registry.RegisterImplementations((*tx.TxExtensionOptionI)(nil), &antetypes.ExtensionOptionDynamicFeeTx{})
	sdk.RegisterLegacyAminoCodec(amino)
	evmcryptocodec.RegisterCrypto(amino)
	codec.RegisterEvidences(amino)
	return Encoding{registry, cdc, amino, authtx.NewTxConfig(cdc, authtx.DefaultSignModes)}, nil
}
