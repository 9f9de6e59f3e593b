package main_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// shape is what a value looks like that is printed as JSON.
type shape struct {
	name    string // of the member that it is; "" if it is none
	field   string // from which the member comes, and the type that has it
	owner   reflect.Type
	always  bool   // the member is never left out
	array   bool   // there are any number of these
	kind    string // "string", "time", "boolean", "integer", "number", "object" or "any"
	members []shape
}

// kindOf tells the type in words.
func (s *shape) kindOf() string {
	if s.array {
		return "array of " + s.kind
	}
	return s.kind
}

var (
	timeType = reflect.TypeFor[time.Time]()
	rawType  = reflect.TypeFor[json.RawMessage]()
	textType = reflect.TypeFor[interface{ MarshalText() ([]byte, error) }]()
)

// shapeOf is what a type looks like to [encoding/json]. It panics if no
// document tells that.
func shapeOf(t reflect.Type) (s shape) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() == reflect.Slice && t != rawType {
		s.array, t = true, t.Elem()
	}
	switch {
	case t == timeType:
		s.kind = "time"
	case t == rawType:
		s.kind = "any"
	case t.Kind() == reflect.String || t.Implements(textType):
		s.kind = "string"
	case t.Kind() == reflect.Bool:
		s.kind = "boolean"
	case t.Kind() == reflect.Float64:
		s.kind = "number"
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64:
		s.kind = "integer"
	case t.Kind() == reflect.Struct:
		s.kind, s.members = "object", membersOf(t)
	default:
		panic(fmt.Sprintf("no document tells how a %s is printed", t))
	}
	return s
}

func membersOf(t reflect.Type) (all []shape) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, option := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			all = append(all, membersOf(f.Type)...)
			continue
		case name == "-":
			continue
		case name == "":
			panic(fmt.Sprintf("%s.%s: a member that is printed has its name in a tag", t, f.Name))
		}
		s := shapeOf(f.Type)
		s.name, s.always, s.field, s.owner = name, !option, f.Name, t
		all = append(all, s)
	}
	return all
}

// fits looks whether a value, decoded with [json.Decoder.UseNumber], is one of
// a shape. at is what it is called.
func (s *shape) fits(v any, at string) error {
	if s.array {
		all, ok := v.([]any)
		if !ok {
			return fmt.Errorf("%s is %s, not an array", at, brief(v))
		}
		one := *s
		one.array = false
		for _, v := range all {
			if err := one.fits(v, at+"[]"); err != nil {
				return err
			}
		}
		return nil
	}
	ok := true
	switch s.kind {
	case "string":
		_, ok = v.(string)
	case "time":
		var text string
		if text, ok = v.(string); ok {
			_, err := time.Parse(time.RFC3339Nano, text)
			ok = err == nil && strings.HasSuffix(text, "Z")
		}
	case "boolean":
		_, ok = v.(bool)
	case "integer":
		var n json.Number
		n, ok = v.(json.Number)
		ok = ok && !strings.ContainsAny(string(n), ".eE")
	case "number":
		_, ok = v.(json.Number)
	case "object":
		var members map[string]any
		if members, ok = v.(map[string]any); ok {
			return s.hasMembers(members, at)
		}
	}
	if !ok {
		return fmt.Errorf("%s is %s, not of type %s", at, brief(v), s.kind)
	}
	return nil
}

func (s *shape) hasMembers(all map[string]any, at string) error {
	for name := range all {
		if !slices.ContainsFunc(s.members, func(m shape) bool { return m.name == name }) {
			return fmt.Errorf("%s has a member %q that is not documented", at, name)
		}
	}
	for _, m := range s.members {
		v, ok := all[m.name]
		if !ok && m.always {
			return fmt.Errorf("%s has no member %q, which is always there", at, m.name)
		}
		if ok {
			if err := m.fits(v, at+"."+m.name); err != nil {
				return err
			}
		}
	}
	return nil
}

// brief is the beginning of a value.
func brief(v any) string {
	text, _ := json.Marshal(v) // it came from JSON
	return fmt.Sprintf("%.40s", text)
}

// flat calls visit with a path to each member, such as hosts[].key.
func (s *shape) flat(under string, visit func(path string, m *shape)) {
	for i := range s.members {
		m := &s.members[i]
		path := under + m.name
		visit(path, m)
		if m.array {
			path += "[]"
		}
		m.flat(path+".", visit)
	}
}
