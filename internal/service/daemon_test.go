package service_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/varve-project/varve/internal/finding"
	"github.com/varve-project/varve/internal/service"
)

// The test binary is the daemon under test when this is set.
const beDaemon = "VARVE_TEST_BE_DAEMON"

func TestMain(m *testing.M) {
	if os.Getenv(beDaemon) != "" {
		service.Main(testSpec())
	}
	os.Exit(m.Run())
}

// testConfig has every shape of key that the daemons use.
type testConfig struct {
	service.Common
	// Colour must be red or green.
	Colour string   `toml:"colour" comment:"red or green."`
	Lists  []string `toml:"lists" comment:"Any words."`
	// Open tells the daemon how to start: "", "fail" or "wait".
	Open string `toml:"open" comment:"How to start: nothing, fail or wait."`
	// Close is how long closing takes.
	Close service.Duration `toml:"close" comment:"How long closing takes."`
	Part  struct {
		Size int              `toml:"size" comment:"In bytes."`
		Wait service.Duration `toml:"wait" comment:"How long."`
	} `toml:"part" comment:"A table."`
}

func testSpec() service.Spec[testConfig] {
	return service.Spec[testConfig]{
		Name:    "test",
		Short:   "A daemon for the tests of its scaffolding",
		Default: func() testConfig { return testConfig{Colour: "red", Lists: []string{"shipped"}} },
		Common:  func(c *testConfig) *service.Common { return &c.Common },
		Flags: func(cmd *cobra.Command, c *testConfig) {
			cmd.Flags().StringVar(&c.Colour, "colour", c.Colour, "red or green")
			cmd.PersistentFlags().StringSliceVar(&c.Lists, "lists", c.Lists, "any words")
		},
		Check: func(c *testConfig) error {
			if c.Colour != "red" && c.Colour != "green" {
				return fmt.Errorf("colour = %q: want red or green", c.Colour)
			}
			return nil
		},
		Open: open,
		Doctor: func(_ context.Context, c *testConfig) (finding.List, error) {
			if c.Colour == "green" {
				return finding.List{{ID: "test.colour.green", Severity: finding.Error, Text: "it is green"}}, nil
			}
			return nil, nil
		},
		Commands: func(load func(*cobra.Command) (*testConfig, error)) []*cobra.Command {
			return []*cobra.Command{{
				Use: "show",
				RunE: func(cmd *cobra.Command, _ []string) error {
					c, err := load(cmd)
					if err != nil {
						return err
					}
					_, err = fmt.Fprintln(cmd.OutOrStdout(), c.Colour, c.Lists, c.Root, c.DrainTimeout, c.Part.Size)
					return err
				},
			}, {
				Use:  "broken",
				RunE: func(*cobra.Command, []string) error { return errors.New("it broke") },
			}}
		},
	}
}

// testService counts its own metric, as drivers do.
type testService struct {
	prometheus.Collector
	config *testConfig
}

func open(ctx context.Context, c *testConfig, server *grpc.Server) (service.Service, error) {
	switch c.Open {
	case "fail":
		return nil, errors.New("the disk is on fire")
	case "wait":
		<-ctx.Done()
		return nil, ctx.Err()
	}
	server.RegisterService(&testDesc, nil)
	own := prometheus.NewCounter(prometheus.CounterOpts{Name: "varve_test_own_total", Help: "A metric of the daemon's own."})
	return testService{own, c}, nil
}

func (s testService) Close() error {
	time.Sleep(time.Duration(s.config.Close))
	fmt.Println("closed")
	return nil
}

// testDesc is a service written by hand: three calls that misbehave.
var testDesc = grpc.ServiceDesc{
	ServiceName: "varve.test.Test",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{
		method("Sleep", func(ctx context.Context, d time.Duration) error {
			select {
			case <-time.After(d):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}),
		method("Deaf", func(_ context.Context, d time.Duration) error {
			time.Sleep(d)
			return nil
		}),
		method("Panic", func(context.Context, time.Duration) error { panic("spilled") }),
	},
	Streams: []grpc.StreamDesc{{
		StreamName:    "PanicStream",
		ServerStreams: true,
		Handler:       func(any, grpc.ServerStream) error { panic("spilled") },
	}},
}

func method(name string, do func(context.Context, time.Duration) error) grpc.MethodDesc {
	return grpc.MethodDesc{MethodName: name, Handler: func(_ any, ctx context.Context, decode func(any) error, through grpc.UnaryServerInterceptor) (any, error) {
		in := &durationpb.Duration{}
		if err := decode(in); err != nil {
			return nil, err
		}
		handler := func(ctx context.Context, in any) (any, error) {
			fmt.Println("begun", name)
			return &emptypb.Empty{}, do(ctx, in.(*durationpb.Duration).AsDuration())
		}
		return through(ctx, in, &grpc.UnaryServerInfo{FullMethod: "/varve.test.Test/" + name}, handler)
	}}
}
