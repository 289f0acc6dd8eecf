// envoy-check FILE: reads an Envoy configuration (YAML) as Envoy itself would, by the API's own messages: unknown fields and types, values that don't fit and
// values that the API's rules exclude are errors, in extensions (typed_config) too. Warns of deprecated fields. Prints the configuration as JSON.
package main

import (
	"fmt"
	"os"

	bootstrap "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protopath"
	"google.golang.org/protobuf/reflect/protorange"
	"google.golang.org/protobuf/types/descriptorpb"
	"sigs.k8s.io/yaml"
)

type validator interface{ ValidateAll() error }

// The rules hold for a message and what it contains, but stop at each Any, which is therefore visited by itself.
func check(message proto.Message) error {
	if v, ok := message.(validator); ok {
		if err := v.ValidateAll(); err != nil {
			return err
		}
	}
	return protorange.Range(message.ProtoReflect(), func(p protopath.Values) error {
		last := p.Index(-1)
		if field := last.Step.FieldDescriptor; last.Step.Kind() == protopath.FieldAccessStep {
			if options, ok := field().Options().(*descriptorpb.FieldOptions); ok && options.GetDeprecated() {
				fmt.Fprintf(os.Stderr, "warning: %s is deprecated\n", field().FullName())
			}
		}
		if last.Step.Kind() != protopath.AnyExpandStep {
			return nil
		}
		if err := check(last.Value.Message().Interface()); err != nil {
			return err
		}
		return protorange.Break // seen with its own rules
	})
}

func run(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	json, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return err
	}
	config := &bootstrap.Bootstrap{}
	if err := protojson.Unmarshal(json, config); err != nil {
		return err
	}
	if err := check(config); err != nil {
		return err
	}
	out, err := protojson.MarshalOptions{UseProtoNames: true, Multiline: true}.Marshal(config)
	fmt.Println(string(out))
	return err
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: envoy-check FILE")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}
