// SPDX-License-Identifier: Apache-2.0

// Package protos compiles what proto objects hold: protobuf source, or descriptors that a protobuf compiler made of it.
package protos

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/reporter"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	// What files of protobuf's own a set may import without having them along.
	_ "google.golang.org/protobuf/types/known/anypb"
	_ "google.golang.org/protobuf/types/known/apipb"
	_ "google.golang.org/protobuf/types/known/durationpb"
	_ "google.golang.org/protobuf/types/known/emptypb"
	_ "google.golang.org/protobuf/types/known/fieldmaskpb"
	_ "google.golang.org/protobuf/types/known/sourcecontextpb"
	_ "google.golang.org/protobuf/types/known/structpb"
	_ "google.golang.org/protobuf/types/known/timestamppb"
	_ "google.golang.org/protobuf/types/known/typepb"
	_ "google.golang.org/protobuf/types/known/wrapperspb"
)

// Files are the compiled files of one proto object. They are immutable.
type Files struct{ found finder }

// finder is what finds things by their full names; both ways to compile have one.
type finder interface {
	FindDescriptorByName(name protoreflect.FullName) (protoreflect.Descriptor, error)
}

// Compile compiles the content of a proto object: a FileDescriptorSet in base64, or else source. Files that come with
// protobuf (google/protobuf/*.proto) can be imported by either, any others only within a set. The error begins as APISIX's.
func Compile(content string) (*Files, error) {
	compile := compileSource
	if _, err := base64.StdEncoding.DecodeString(content); err == nil {
		compile = compileSet
	}
	found, err := compile(content)
	if err != nil {
		return nil, fmt.Errorf("invalid content: %w", err)
	}
	return &Files{found}, nil
}

// sourceName stands for the file name that source in an object does not have.
const sourceName = "content.proto"

func compileSource(content string) (finder, error) {
	source := &protocompile.SourceResolver{Accessor: func(path string) (io.ReadCloser, error) {
		if path != sourceName {
			return nil, protoregistry.NotFound
		}
		return io.NopCloser(strings.NewReader(content)), nil
	}}
	compiler := protocompile.Compiler{Resolver: protocompile.WithStandardImports(source), MaxParallelism: 1}
	files, err := compiler.Compile(context.Background(), sourceName)
	if err != nil {
		return nil, located(err)
	}
	return files.AsResolver(), nil
}

func compileSet(content string) (finder, error) {
	binary, err := base64.StdEncoding.DecodeString(content)
	if err != nil {
		return nil, err
	}
	set := new(descriptorpb.FileDescriptorSet)
	if err := proto.Unmarshal(binary, set); err != nil {
		return nil, fmt.Errorf("no FileDescriptorSet: %w", err)
	}
	if len(set.File) == 0 {
		return nil, errors.New("the FileDescriptorSet is empty")
	}
	addStandard(set)
	return protodesc.NewFiles(set)
}

// addStandard adds to a set the files of protobuf's own that it imports and lacks, and those that they import.
func addStandard(set *descriptorpb.FileDescriptorSet) {
	has := make(map[string]bool, len(set.File))
	for _, file := range set.File {
		has[file.GetName()] = true
	}
	for i := 0; i < len(set.File); i++ {
		for _, name := range set.File[i].GetDependency() {
			if has[name] || !strings.HasPrefix(name, "google/protobuf/") {
				continue
			}
			if file, err := protoregistry.GlobalFiles.FindFileByPath(name); err == nil {
				set.File = append(set.File, protodesc.ToFileDescriptorProto(file))
				has[name] = true
			}
		}
	}
}

// located returns a compiler's error with the line instead of the name of a file that has none.
func located(err error) error {
	var at reporter.ErrorWithPos
	if !errors.As(err, &at) {
		return err
	}
	if start := at.GetPosition(); start.Filename == sourceName && start.Line > 0 {
		return fmt.Errorf("line %d: %w", start.Line, at.Unwrap())
	}
	return err
}

// Method finds a method by the full name of its service.
func (f *Files) Method(service, method string) (protoreflect.MethodDescriptor, error) {
	found, err := f.found.FindDescriptorByName(protoreflect.FullName(service))
	if s, ok := found.(protoreflect.ServiceDescriptor); ok && err == nil {
		if m := s.Methods().ByName(protoreflect.Name(method)); m != nil {
			return m, nil
		}
		return nil, fmt.Errorf("undefined service method: %s/%s: the service has no such method", service, method)
	}
	return nil, fmt.Errorf("undefined service method: %s/%s: there is no such service", service, method)
}

// Message finds a message by its full name; nil is unknown.
func (f *Files) Message(name string) protoreflect.MessageDescriptor {
	found, err := f.found.FindDescriptorByName(protoreflect.FullName(strings.TrimPrefix(name, ".")))
	if err != nil {
		return nil
	}
	message, _ := found.(protoreflect.MessageDescriptor)
	return message
}
