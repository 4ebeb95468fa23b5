// Summarises a JSON document. Bindings are by hand, since the canonical ABI of two functions is less than a generator:
// the exports are named and laid out as the component model's Canonical ABI says.
package main

import (
	_ "embed"
	"encoding/json"
	"unicode/utf8"
	"unsafe"
)

//go:embed input.schema.json
var inputSchema string

//go:embed output.schema.json
var outputSchema string

func main() {}

type summary struct {
	Types         types `json:"types"`
	Depth         int   `json:"depth"`
	Keys          int   `json:"keys"`
	LongestString int   `json:"longest_string"`
}

type types struct {
	Null    int `json:"null"`
	Boolean int `json:"boolean"`
	Number  int `json:"number"`
	String  int `json:"string"`
	Array   int `json:"array"`
	Object  int `json:"object"`
}

func summarise(input []byte) (string, error) {
	var in struct{ Document any }
	if err := json.Unmarshal(input, &in); err != nil {
		return "", err
	}
	var s summary
	names := map[string]struct{}{}
	s.Depth = s.look(in.Document, names)
	s.Keys = len(names)
	output, err := json.Marshal(s)
	return string(output), err
}

// look counts a value and what is in it, and returns how deep it is.
func (s *summary) look(value any, names map[string]struct{}) int {
	deepest := 0
	switch value := value.(type) {
	case nil:
		s.Types.Null++
	case bool:
		s.Types.Boolean++
	case float64:
		s.Types.Number++
	case string:
		s.Types.String++
		s.LongestString = max(s.LongestString, utf8.RuneCountInString(value))
	case []any:
		s.Types.Array++
		for _, item := range value {
			deepest = max(deepest, s.look(item, names))
		}
	case map[string]any:
		s.Types.Object++
		for name, item := range value {
			names[name] = struct{}{}
			deepest = max(deepest, s.look(item, names))
		}
	}
	return deepest + 1
}

// text is a string or a list as it lies in memory.
type text struct{ ptr, len uint32 }

func textOf(s string) text {
	return text{uint32(uintptr(unsafe.Pointer(unsafe.StringData(s)))), uint32(len(s))}
}

type stepType struct{ name, summary, inputSchema, outputSchema text }

type descriptor struct{ name, version, summary, steps text }

// result is `result<json, failure>`: which of both, then the text, or which failure and its text.
type result struct {
	tag     uint32
	payload [3]uint32
}

const failed = 1

// What the host reads or writes is kept alive until it says that it is done.
var (
	blocks    = map[uintptr][]uint64{}
	output    string
	answer    result
	stepTypes [1]stepType
	described descriptor
)

//go:wasmexport cabi_realloc
func cabiRealloc(old unsafe.Pointer, oldSize, _, size uint32) unsafe.Pointer {
	block := make([]uint64, (size+7)/8+1)
	ptr := unsafe.Pointer(&block[0])
	if old != nil {
		copy(unsafe.Slice((*byte)(ptr), size), unsafe.Slice((*byte)(old), oldSize))
	}
	blocks[uintptr(ptr)] = block
	return ptr
}

//go:wasmexport stepseal:plugin/step@0.1.0#describe
func describe() unsafe.Pointer {
	stepTypes[0] = stepType{
		textOf("summarise"),
		textOf("Counts values by type and member names, and finds the depth and the longest string."),
		textOf(inputSchema),
		textOf(outputSchema),
	}
	steps := text{uint32(uintptr(unsafe.Pointer(&stepTypes))), uint32(len(stepTypes))}
	described = descriptor{textOf("summarise-go"), textOf("0.1.0"), textOf("Summarises a JSON document."), steps}
	return unsafe.Pointer(&described)
}

//go:wasmexport stepseal:plugin/step@0.1.0#run
func run(_, _, _, _ uint32, _ uint32, _, _ uint32, input unsafe.Pointer, inputLen uint32, _, _ uint32) unsafe.Pointer {
	var err error
	output, err = summarise(unsafe.Slice((*byte)(input), inputLen))
	if err != nil {
		output = err.Error()
		message := textOf(output)
		answer = result{1, [3]uint32{failed, message.ptr, message.len}}
	} else {
		json := textOf(output)
		answer = result{0, [3]uint32{json.ptr, json.len}}
	}
	return unsafe.Pointer(&answer)
}

//go:wasmexport cabi_post_stepseal:plugin/step@0.1.0#run
func postRun(unsafe.Pointer) { clear(blocks) }
