package gguf

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/koinon-network/koinon/core"
)

// Keys of a model in several files. Every file has the first two, counted from
// 0; all other metadata are in the first.
const (
	splitNumber  = "split.no"
	splitCount   = "split.count"
	splitTensors = "split.tensors.count"
)

const maxParts = 1 << 12

var partName = regexp.MustCompile(`^(.*)-(\d{5})-of-(\d{5})\.gguf$`)

// PartPath names part number i, counted from 0, of n in the way that [Open]
// finds the others by.
func PartPath(stem string, i, n int) string {
	return fmt.Sprintf("%s-%05d-of-%05d.gguf", stem, i+1, n)
}

// ModelName is what a model is called after its file: the base name without
// extension and number.
func ModelName(path string) string {
	name := filepath.Base(path)
	if part := partName.FindStringSubmatch(name); part != nil {
		return part[1]
	}
	return strings.TrimSuffix(name, ".gguf")
}

// split returns a file's number and how many there are, 0 and 1 for a whole model.
func (f *File) split() (number, count int, err error) {
	if count, err = Or(f.Int(splitCount))(0); err != nil {
		return 0, 0, err
	}
	if number, err = Or(f.Int(splitNumber))(0); err != nil {
		return 0, 0, err
	}
	if count <= 1 {
		return 0, 1, nil
	}
	if count > maxParts || number >= count {
		return 0, 0, fmt.Errorf("gguf: part %d of %d", number+1, count)
	}
	return number, count, nil
}

// whole refuses one file of several.
func whole(f *File, err error) (*File, error) {
	if err != nil {
		return nil, err
	}
	number, count, err := f.split()
	if err != nil {
		return nil, err
	}
	if count > 1 {
		return nil, fmt.Errorf("gguf: this is part %d of a model in %d files, which must be opened by path", number+1, count)
	}
	return f, nil
}

// join adds the other files of a model of which f, at path, is the first.
func (f *File) join(path string) error {
	number, count, err := f.split()
	if err != nil {
		return refused(path, err.Error(), "get the file anew")
	}
	if count == 1 {
		return nil
	}
	name := partName.FindStringSubmatch(path)
	if name == nil || path != PartPath(name[1], number, count) {
		return refused(path, fmt.Sprintf("it is part %d of %d and its name does not say so", number+1, count),
			fmt.Sprintf("call the files %s to %s", PartPath("NAME", 0, count), PartPath("NAME", count-1, count)))
	}
	if number != 0 {
		return refused(path, fmt.Sprintf("it is part %d of a model in %d files", number+1, count), "open "+PartPath(name[1], 0, count))
	}
	for i := 1; i < count; i++ {
		if err := f.add(PartPath(name[1], i, count), i, count); err != nil {
			return err
		}
	}
	if n, err := Or(f.Int(splitTensors))(len(f.Tensors)); err != nil || n != len(f.Tensors) {
		return refused(path, fmt.Sprintf("the %d files hold %d tensors and should hold %d", count, len(f.Tensors), n),
			"get all files from one place: they belong to different models")
	}
	f.Metadata = f.filter(func(key string) bool { return key != splitNumber && key != splitCount && key != splitTensors })
	return nil
}

// add opens file i of count and takes it over.
func (f *File) add(path string, i, count int) error {
	other, err := openOne(path)
	if errors.Is(err, fs.ErrNotExist) {
		return refused(path, fmt.Sprintf("part %d of %d is missing", i+1, count), "get this file too, and put it beside the others")
	}
	if err != nil {
		return err
	}
	f.parts = append(f.parts, other.parts...)
	const mixed = "get all files from one place: they belong to different models"
	number, n, err := other.split()
	if err != nil || number != i || n != count {
		return refused(path, fmt.Sprintf("it should be part %d of %d and says that it is part %d of %d", i+1, count, number+1, n), mixed)
	}
	for key, v := range other.values {
		if mine, ok := f.values[key]; !isLayout(key) && (!ok || !mine.equal(v)) {
			return refused(path, fmt.Sprintf("its %.80q is not that of the first part", key), mixed)
		}
	}
	for _, t := range other.Tensors {
		if _, twice := f.byName[t.Name]; twice {
			return refused(path, fmt.Sprintf("it holds the tensor %q, which another part has", t.Name), mixed)
		}
		t.part = i
		f.byName[t.Name] = len(f.Tensors)
		f.Tensors = append(f.Tensors, t)
	}
	f.Size += other.Size
	f.Parts++
	return nil
}

func refused(path, why, next string) error {
	return &core.Error{Code: core.CodeInvalid, Message: fmt.Sprintf("%s cannot be used: %s", path, why), Next: next}
}
