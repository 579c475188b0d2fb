package blobtest

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"mailwake/engine/blob"
)

func TestFaulty(t *testing.T) {
	AcceptanceTest(t, func(*testing.T) blob.Store { return NewFaulty(blob.Mem("m")) })
}

func TestFaultyEffects(t *testing.T) {
	mem := blob.Mem("m")
	f := NewFaulty(mem)
	f.FailNth(OpPut, 2, Fault{When: Before})
	f.FailNth(OpPut, 3, Fault{When: After})
	var failed []bool
	for _, key := range []string{"1", "2", "3", "4"} {
		err := f.Put(t.Context(), key, strings.NewReader("x"), false)
		failed = append(failed, err != nil)
		if err != nil && (!errors.Is(err, ErrInjected) || !blob.IsTransient(err)) {
			t.Errorf("put %s: %v", key, err)
		}
	}
	if !slices.Equal(failed, []bool{false, true, true, false}) || !slices.Equal(Keys(t, mem, ""), []string{"1", "3", "4"}) {
		t.Errorf("failed %v, stored %q", failed, Keys(t, mem, ""))
	}
	custom := errors.New("custom")
	f.Script(func(op Op, key string) Fault {
		if op == OpDelete && key == "1" {
			return Fault{When: After, Err: custom}
		}
		return Fault{}
	})
	if err := f.Delete(t.Context(), "1", "3"); !errors.Is(err, custom) {
		t.Error(err)
	}
	if !slices.Equal(Keys(t, f, ""), []string{"4"}) {
		t.Errorf("left %q", Keys(t, f, ""))
	}
	f.Script(nil)
	f.FailNth(OpRead, 1, Fault{When: Before})
	body, err := f.Get(t.Context(), "4", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(body); !errors.Is(err, ErrInjected) {
		t.Errorf("read: %v", err)
	}
	if f.Calls(OpPut) != 4 || f.Calls(OpDelete) != 1 || f.Calls(OpRead) != 1 {
		t.Error("calls are counted wrongly")
	}
}
