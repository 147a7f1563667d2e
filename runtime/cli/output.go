package cli

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"

	"sigs.k8s.io/yaml"
)

// print writes v as JSON or YAML when -o asks for it, else calls text.
func (g *globals) print(v any, text func() error) error {
	switch g.Output {
	case "json":
		enc := json.NewEncoder(g.Out)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	case "yaml":
		data, err := yaml.Marshal(v)
		if err != nil {
			return err
		}
		_, err = g.Out.Write(data)
		return err
	default:
		return text()
	}
}

// table prints rows under their headings in aligned columns.
func (g *globals) table(head []string, rows [][]string) error {
	w := tabwriter.NewWriter(g.Out, 0, 4, 3, ' ', 0)
	line := func(cells []string) {
		for i, c := range cells {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			fmt.Fprint(w, c)
		}
		fmt.Fprintln(w)
	}
	line(head)
	for _, r := range rows {
		line(r)
	}
	return w.Flush()
}
