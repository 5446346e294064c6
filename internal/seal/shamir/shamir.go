// Package shamir divides a secret into shares of which a threshold gives the
// secret back and fewer give nothing (Adi Shamir, "How to share a secret",
// 1979).
//
// Each byte of the secret is the constant term of a random polynomial over
// GF(2^8). A share is the value of these polynomials at one point, one byte for
// each byte of the secret, followed by that point. Other Vault-compatible tools
// use the same format.
//
// A secret with too few, foreign or changed shares combines to something else,
// without an error: whoever combines must be able to recognise the secret.
package shamir

import (
	"errors"
	"fmt"
	"io"
)

// MaxShares is the number of points other than zero.
const MaxShares = 255

// Split divides secret into n shares of which any threshold combine to it.
func Split(secret []byte, n, threshold int, rand io.Reader) ([][]byte, error) {
	switch {
	case len(secret) == 0:
		return nil, errors.New("splitting secret: it is empty")
	case threshold < 2 || threshold > n || n > MaxShares:
		return nil, fmt.Errorf("splitting secret: %d of %d shares are out of bounds", threshold, n)
	}
	points, err := choosePoints(n, rand)
	if err != nil {
		return nil, err
	}
	shares := make([][]byte, n)
	for i, x := range points {
		shares[i] = make([]byte, len(secret)+1)
		shares[i][len(secret)] = x
	}
	coefficients := make([]byte, threshold)
	defer clear(coefficients)
	for i, b := range secret {
		coefficients[0] = b
		if _, err := io.ReadFull(rand, coefficients[1:]); err != nil {
			return nil, fmt.Errorf("reading randomness: %w", err)
		}
		for j, x := range points {
			shares[j][i] = evaluate(coefficients, x)
		}
	}
	return shares, nil
}

// choosePoints draws n different points other than zero. Points are no secret;
// drawing them keeps shares of different splits from looking interchangeable.
func choosePoints(n int, rand io.Reader) ([]byte, error) {
	all := make([]byte, MaxShares)
	for i := range all {
		all[i] = byte(i + 1)
	}
	for i := range n {
		j, err := below(MaxShares-i, rand)
		if err != nil {
			return nil, err
		}
		all[i], all[i+j] = all[i+j], all[i]
	}
	return all[:n], nil
}

// below draws a number from 0 to n-1, each equally likely.
func below(n int, rand io.Reader) (int, error) {
	limit := 256 - 256%n
	var b [1]byte
	for {
		if _, err := io.ReadFull(rand, b[:]); err != nil {
			return 0, fmt.Errorf("reading randomness: %w", err)
		}
		if int(b[0]) < limit {
			return int(b[0]) % n, nil
		}
	}
}

// evaluate returns the polynomial's value at x (Horner's rule).
func evaluate(coefficients []byte, x byte) byte {
	var y byte
	for i := len(coefficients) - 1; i >= 0; i-- {
		y = mul(y, x) ^ coefficients[i]
	}
	return y
}

// Combine interpolates the secret from shares. The error is about their form
// only: fewer than two, different lengths, a point that is zero or doubled.
func Combine(shares [][]byte) ([]byte, error) {
	if len(shares) < 2 || len(shares) > MaxShares {
		return nil, fmt.Errorf("combining shares: %d of them", len(shares))
	}
	size := len(shares[0]) - 1
	points := make([]byte, len(shares))
	var seen [256]bool
	for i, s := range shares {
		if size < 1 || len(s) != size+1 {
			return nil, errors.New("combining shares: their lengths do not fit")
		}
		x := s[size]
		if x == 0 || seen[x] {
			return nil, errors.New("combining shares: a point is zero or doubled")
		}
		points[i], seen[x] = x, true
	}
	secret := make([]byte, size)
	for i, s := range shares {
		weight := basis(points, i)
		for j := range secret {
			secret[j] ^= mul(weight, s[j])
		}
	}
	return secret, nil
}

// basis returns the value at zero of the Lagrange polynomial that is 1 at
// points[i] and 0 at the others.
func basis(points []byte, i int) byte {
	numerator, denominator := byte(1), byte(1)
	for j, x := range points {
		if j != i {
			numerator = mul(numerator, x)
			denominator = mul(denominator, x^points[i])
		}
	}
	return mul(numerator, inverse(denominator))
}
