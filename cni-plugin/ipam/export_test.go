package ipam

// Dir is the store's folder.
func Dir(s *Store) string { return s.dir }

// Reencode parses an index and writes it again.
func Reencode(data []byte) ([]byte, error) {
	ix, err := parseIndex(data)
	if err != nil {
		return nil, err
	}
	return ix.encode(), nil
}
