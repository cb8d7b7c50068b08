// Tells what Flux and Argo CD make of an object: `gitops-health SCRIPT <object.json` prints both answers as JSON.
//
// Flux's is kstatus itself. Argo CD's is a Lua script, SCRIPT, which runs in the engine that Argo CD runs it in, with
// the libraries that it opens for a user's script; Argo CD's own package would be 1,400 packages to compile.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

type answer struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

func main() {
	answers, err := judge(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(answers); err != nil {
		panic(err)
	}
}

func judge(script string) (map[string]answer, error) {
	object := unstructured.Unstructured{}
	if err := json.NewDecoder(os.Stdin).Decode(&object); err != nil {
		return nil, err
	}
	result, err := status.Compute(&object)
	if err != nil {
		return nil, err
	}
	health, err := run(script, object.Object)
	if err != nil {
		return nil, err
	}
	return map[string]answer{"flux": {result.Status.String(), result.Message}, "argo_cd": health}, nil
}

func run(script string, object map[string]any) (answer, error) {
	machine := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer machine.Close()
	libraries := map[string]lua.LGFunction{
		lua.LoadLibName: lua.OpenPackage,
		lua.BaseLibName: lua.OpenBase,
		lua.TabLibName:  lua.OpenTable,
	}
	for _, name := range []string{lua.LoadLibName, lua.BaseLibName, lua.TabLibName} {
		machine.Push(machine.NewFunction(libraries[name]))
		machine.Push(lua.LString(name))
		machine.Call(1, 0)
	}
	machine.SetGlobal("obj", valueOf(machine, object))
	if err := machine.DoString(script); err != nil {
		return answer{}, err
	}
	health, ok := machine.Get(-1).(*lua.LTable)
	if !ok {
		return answer{}, fmt.Errorf("the script returned %s, not a table", machine.Get(-1).Type())
	}
	return answer{textOf(health, "status"), textOf(health, "message")}, nil
}

func textOf(table *lua.LTable, key string) string {
	if text, ok := table.RawGetString(key).(lua.LString); ok {
		return string(text)
	}
	return ""
}

func valueOf(machine *lua.LState, value any) lua.LValue {
	switch known := value.(type) {
	case bool:
		return lua.LBool(known)
	case int64:
		return lua.LNumber(known)
	case float64:
		return lua.LNumber(known)
	case string:
		return lua.LString(known)
	case []any:
		table := machine.NewTable()
		for _, each := range known {
			table.Append(valueOf(machine, each))
		}
		return table
	case map[string]any:
		table := machine.NewTable()
		for key, each := range known {
			table.RawSetString(key, valueOf(machine, each))
		}
		return table
	}
	return lua.LNil
}
