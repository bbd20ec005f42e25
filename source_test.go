package pillion_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// maxLines of a source file that a person wrote.
const maxLines = 400

// TestSource holds the rules that are about what is written in a file.
func TestSource(t *testing.T) {
	for _, path := range goFiles(t) {
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		failWith(t, sourceFindings(t, filepath.ToSlash(path), source))
	}
}

// sourceFindings are the rules that one file breaks, each as "FILE:LINE: what".
func sourceFindings(t *testing.T, path string, source []byte) []string {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, source, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var findings []string
	if lines := bytes.Count(source, []byte("\n")); lines >= maxLines && !ast.IsGenerated(file) {
		findings = append(findings, fmt.Sprintf("%s: %d lines: split it below %d by what belongs together", path, lines, maxLines))
	}
	if strings.HasSuffix(path, "_test.go") {
		return findings
	}
	found := func(node ast.Node, what string) {
		findings = append(findings, fmt.Sprintf("%s:%d: %s", path, files.Position(node.Pos()).Line, what))
	}
	of := kind("./" + path)
	if of == "pure" || of == "edge" {
		for _, declaration := range file.Decls {
			if f, ok := declaration.(*ast.FuncDecl); ok && f.Name.Name == "init" && f.Recv == nil {
				found(f, "func init: what runs before main cannot be seen or tested; call it")
			}
		}
	}
	if of == "pure" {
		for _, call := range clockReads(file) {
			found(call, "reads the clock: a pure room is given the time")
		}
	}
	return findings
}

// clockReads are the uses of functions of package time that look at the clock.
func clockReads(file *ast.File) []ast.Node {
	name := importName(file, "time")
	if name == "" {
		return nil
	}
	clock := map[string]bool{
		"Now": true, "Since": true, "Until": true, "After": true, "AfterFunc": true,
		"NewTimer": true, "NewTicker": true, "Tick": true, "Sleep": true,
	}
	var reads []ast.Node
	ast.Inspect(file, func(node ast.Node) bool {
		if selector, ok := node.(*ast.SelectorExpr); ok && clock[selector.Sel.Name] {
			if from, ok := selector.X.(*ast.Ident); ok && from.Name == name {
				reads = append(reads, node)
			}
		}
		return true
	})
	return reads
}

// importName is the name under which a file imports a path; empty if it does not.
func importName(file *ast.File, path string) string {
	for _, spec := range file.Imports {
		if imported, err := strconv.Unquote(spec.Path.Value); err != nil || imported != path {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return path[strings.LastIndexByte(path, '/')+1:]
	}
	return ""
}

// goFiles are all of the repository, those of other modules in it too.
func goFiles(t *testing.T) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() && path != "." && (name == "testdata" || name == "bin" || strings.HasPrefix(name, ".")) {
			return filepath.SkipDir
		}
		if !entry.IsDir() && strings.HasSuffix(name, ".go") {
			paths = append(paths, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) == 0 {
		t.Fatal("no Go file was found, so nothing was checked")
	}
	return paths
}
