package service

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// maxConfig bounds a configuration file in bytes, so that a wrong path
// (/dev/zero, an image) is an error and not an exhausted machine.
const maxConfig = 1 << 20

// readConfig lays the TOML file over config. A missing file is an error only
// where it was asked for by name.
func readConfig(path string, named bool, config any) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return nil
	}
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if len(text) > maxConfig {
		return fmt.Errorf("configuration %s: larger than %d bytes; is it the right file?", path, maxConfig)
	}
	return decodeConfig(path, text, config)
}

// decodeConfig is readConfig of given text; path serves the error only.
func decodeConfig(path string, text []byte, config any) error {
	err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(config)
	var unknown *toml.StrictMissingError
	var broken *toml.DecodeError
	switch {
	case err == nil:
		return checkUnits(path, text, config)
	case errors.As(err, &unknown):
		var all []error
		for i := range unknown.Errors {
			key := &unknown.Errors[i]
			line, _ := key.Position()
			all = append(all, fmt.Errorf("%s:%d: unknown key %q; `config default` prints the known ones", path, line, strings.Join(key.Key(), ".")))
		}
		return errors.Join(all...)
	case errors.As(err, &broken):
		line, column := broken.Position()
		text := strings.TrimPrefix(broken.Error(), "toml: ")
		if key := strings.Join(broken.Key(), "."); key != "" {
			text = fmt.Sprintf("key %q: %s", key, text)
		}
		return fmt.Errorf("%s:%d:%d: %s", path, line, column, text)
	}
	return fmt.Errorf("%s: %w", path, err)
}

// writeConfig prints config as a commented TOML file.
func writeConfig(w io.Writer, config any) error {
	return toml.NewEncoder(w).Encode(config)
}
