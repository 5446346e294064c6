package postgres

import "net"

// Render exposes render for property tests.
func Render(statements []string, name, password, expiration string) (string, error) {
	return render(statements, values{name: name, password: password, expiration: expiration})
}

// Lex exposes lex: the kind and text of each token.
func Lex(s string) (kinds []int, texts []string, err error) {
	tokens, err := lex(s)
	for _, t := range tokens {
		kinds, texts = append(kinds, int(t.kind)), append(texts, t.text)
	}
	return kinds, texts, err
}

// Blank exposes blank.
func Blank(statements []string) bool { return blank(statements) }

// SCRAMVerifier exposes scramVerifierWith.
func SCRAMVerifier(password string, salt []byte, iterations int) (string, error) {
	return scramVerifierWith(password, salt, iterations)
}

// Readable exposes readable.
func Readable(c net.Conn) bool { return readable(c) }
