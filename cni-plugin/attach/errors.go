package attach

import (
	"errors"
	"fmt"

	"github.com/containernetworking/cni/pkg/types"
)

// CNI error codes of our own, from 100 on as the spec leaves them to plug-ins.
const (
	// CodeExhausted: no address is free and none rests; nothing will change
	// until a container goes.
	CodeExhausted uint = 100
	// CodeOvertaken: a DEL of this attachment was asked for after this ADD.
	CodeOvertaken uint = 101
	// CodeAttached: the attachment exists already.
	CodeAttached uint = 102
	// CodeTaken: a host port or an address that was asked for belongs to
	// another attachment.
	CodeTaken uint = 103
	// CodeCheck: CHECK found something missing or changed.
	CodeCheck uint = 104
	// CodeKernel: the kernel refused a step.
	CodeKernel uint = 105
)

func fail(code uint, format string, args ...any) *types.Error {
	return types.NewError(code, fmt.Sprintf(format, args...), "")
}

// coded gives err a code unless it has one.
func coded(code uint, err error) error {
	var e *types.Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	return types.NewError(code, err.Error(), "")
}
