// Command protogen compiles the .proto files under proto/ and writes the Go
// code of the ledger's modules. It needs neither protoc, buf nor the network:
// protocompile parses, and the two plugins are built from this module's pins.
//
// Run `go run -C internal/protogen .` from the root of the repository; with
// -check it writes nothing and fails when the committed code is not current.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

const module = "github.com/koinon-network/koinon/"

var plugins = []struct{ path, options string }{
	{"github.com/cosmos/gogoproto/protoc-gen-gocosmos", "plugins=grpc,Mgoogle/protobuf/any.proto=github.com/cosmos/gogoproto/types/any"},
	{"github.com/grpc-ecosystem/grpc-gateway/protoc-gen-grpc-gateway", "logtostderr=true,allow_colon_final_segments=true"},
}

// imports are the folders with other people's .proto files, inside the modules
// that the ledger itself is built with.
var imports = []struct{ module, folder string }{
	{"github.com/cosmos/cosmos-sdk", "proto"},
	{"github.com/cosmos/gogoproto", ""},
	{"github.com/cosmos/cosmos-proto", "proto"},
	{"github.com/grpc-ecosystem/grpc-gateway", "third_party/googleapis"},
}

func main() {
	log.SetFlags(0)
	check := flag.Bool("check", false, "fail if the committed code is not current")
	flag.Parse()
	if err := run(*check); err != nil {
		log.Fatal("protogen: ", err)
	}
}

func run(check bool) error {
	root, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	paths := []string{filepath.Join(root, "proto")}
	for _, i := range imports {
		dir, err := output(root, "go", "list", "-m", "-f", "{{.Dir}}", i.module)
		if err != nil {
			return err
		}
		paths = append(paths, filepath.Join(strings.TrimSpace(string(dir)), i.folder))
	}
	files, err := sources(paths[0])
	if err != nil {
		return err
	}
	descriptors, err := compile(paths, files)
	if err != nil {
		return err
	}
	generated, err := generate(files, descriptors)
	if err != nil {
		return err
	}
	var stale []string
	for _, f := range generated {
		name, ok := strings.CutPrefix(f.GetName(), module)
		if !ok {
			return fmt.Errorf("%s is outside of the module", f.GetName())
		}
		old, err := os.ReadFile(filepath.Join(root, name))
		if err == nil && string(old) == f.GetContent() {
			continue
		}
		if check {
			stale = append(stale, name)
			continue
		}
		if err := write(filepath.Join(root, name), f.GetContent()); err != nil {
			return err
		}
		fmt.Println(name)
	}
	if stale != nil {
		return errors.New("not current: " + strings.Join(stale, ", ") + "; run: go run -C internal/protogen .")
	}
	return nil
}

func sources(dir string) (files []string, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".proto") {
			name, _ := filepath.Rel(dir, path)
			files = append(files, filepath.ToSlash(name))
		}
		return err
	})
	return files, err
}

func compile(paths, files []string) ([]*descriptorpb.FileDescriptorProto, error) {
	c := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: paths}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	compiled, err := c.Compile(context.Background(), files...)
	if err != nil {
		return nil, err
	}
	var all []*descriptorpb.FileDescriptorProto
	seen := map[string]bool{}
	var add func(protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
		all = append(all, protoutil.ProtoFromFileDescriptor(f))
	}
	for _, f := range compiled {
		add(f)
	}
	return all, nil
}

func generate(files []string, all []*descriptorpb.FileDescriptorProto) ([]*pluginpb.CodeGeneratorResponse_File, error) {
	bin, err := os.MkdirTemp("", "protogen")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(bin)
	var out []*pluginpb.CodeGeneratorResponse_File
	for _, p := range plugins {
		exe := filepath.Join(bin, filepath.Base(p.path))
		if _, err := output(".", "go", "build", "-o", exe, p.path); err != nil {
			return nil, err
		}
		for _, f := range files { // the plugins take one Go package at a time
			response, err := plug(exe, p.options, f, all)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", p.path, f, err)
			}
			out = append(out, response...)
		}
	}
	return out, nil
}

func plug(exe, options, file string, all []*descriptorpb.FileDescriptorProto) ([]*pluginpb.CodeGeneratorResponse_File, error) {
	request, err := proto.Marshal(&pluginpb.CodeGeneratorRequest{FileToGenerate: []string{file}, Parameter: &options, ProtoFile: all})
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(request), os.Stderr
	b, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var response pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(b, &response); err != nil {
		return nil, err
	}
	if response.Error != nil {
		return nil, errors.New(*response.Error)
	}
	return response.File, nil
}

func write(path, content string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(content), 0o644)
}

func output(dir string, command ...string) ([]byte, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	b, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strings.Join(command, " "), err)
	}
	return b, nil
}
