package gateway

import (
	"github.com/koinon-network/koinon/core"
)

func fromSchema([]byte) (string, error) {
	return "", core.Errorf(core.CodeInvalid, "schemas are not supported yet")
}

func anyObject() (string, error) {
	return "", core.Errorf(core.CodeInvalid, "JSON is not supported yet")
}
