package volume

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What a Backend's errors wrap. Each stands for the gRPC code that the CSI
// specification gives to its condition.
var (
	// ErrNotFound: no such volume, snapshot or source. NOT_FOUND.
	ErrNotFound = errors.New("not found")
	// ErrConflict: the name is taken by something else. ALREADY_EXISTS.
	ErrConflict = errors.New("already exists with other properties")
	// ErrNoRoom: the store cannot promise that much. RESOURCE_EXHAUSTED.
	ErrNoRoom = errors.New("not enough room in the store")
	// ErrRange: a size that this backend cannot make. OUT_OF_RANGE.
	ErrRange = errors.New("size not possible")
	// ErrInUse: something still holds the object. FAILED_PRECONDITION.
	ErrInUse = errors.New("in use")
	// ErrInvalid: the request contradicts itself or its source.
	// INVALID_ARGUMENT.
	ErrInvalid = errors.New("invalid request")
	// ErrPending: another call works on the same object. ABORTED.
	ErrPending = errors.New("another operation is under way")
	// ErrToken: a page token that no list of ours gave out. ABORTED.
	ErrToken = errors.New("page token not valid")
)

// Status turns an error of this package or a backend into the gRPC status
// that CSI wants, keeping its text. A status stays what it is, nil stays nil.
func Status(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(code(err), err.Error())
}

func code(err error) codes.Code {
	for _, known := range []struct {
		err  error
		code codes.Code
	}{
		{ErrInvalid, codes.InvalidArgument}, // first: it may come joined with others
		{ErrNotFound, codes.NotFound},
		{ErrConflict, codes.AlreadyExists},
		{ErrNoRoom, codes.ResourceExhausted},
		{ErrRange, codes.OutOfRange},
		{ErrInUse, codes.FailedPrecondition},
		{ErrPending, codes.Aborted},
		{ErrToken, codes.Aborted},
		{context.DeadlineExceeded, codes.DeadlineExceeded},
		{context.Canceled, codes.Canceled},
	} {
		if errors.Is(err, known.err) {
			return known.code
		}
	}
	return codes.Internal
}
