package port

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Identity is this node's key, its certificate and whom it trusts, on disk. A
// node that belongs to no cluster yet has a key only. All methods are safe for
// concurrent use.
type Identity struct {
	dir string
	id  string
	key *ecdsa.PrivateKey

	mu    sync.Mutex
	leaf  *x509.Certificate // guarded by mu; nil without a certificate
	trust Bundle            // guarded by mu
	pool  *x509.CertPool    // guarded by mu; of trust
}

const (
	keyFile   = "node.key"
	certFile  = "node.pem"
	trustFile = "ca.pem"
)

// OpenIdentity reads the identity of the node id in a folder, making folder and
// key if they are not there.
func OpenIdentity(dir, id string) (*Identity, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of the node's key: %w", err)
	}
	i := &Identity{dir: dir, id: id}
	var err error
	if i.key, err = i.loadKey(); err != nil {
		return nil, fmt.Errorf("reading the node's key: %w", err)
	}
	if err := i.loadCertificate(); err != nil {
		return nil, fmt.Errorf("reading the node's certificate: %w", err)
	}
	return i, nil
}

func (i *Identity) loadKey() (*ecdsa.PrivateKey, error) {
	text, err := os.ReadFile(filepath.Join(i.dir, keyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return i.makeKey()
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s is no PEM file", keyFile)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("%s holds no P-256 key", keyFile)
	}
	return key, nil
}

func (i *Identity) makeKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, i.write(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// loadCertificate reads certificate and trust. Both or none are there, except
// when a crash came between the two: then there is a bundle without certificate.
func (i *Identity) loadCertificate() error {
	text, err := os.ReadFile(filepath.Join(i.dir, trustFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	trust, err := decodeBundle(text)
	if err != nil {
		return fmt.Errorf("%s: %w", trustFile, err)
	}
	pool, err := trust.pool()
	if err != nil {
		return fmt.Errorf("%s: %w", trustFile, err)
	}
	i.trust, i.pool = trust, pool
	text, err = os.ReadFile(filepath.Join(i.dir, certFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return fmt.Errorf("%s is no PEM file", certFile)
	}
	leaf, err := i.check(block.Bytes)
	if err != nil {
		return fmt.Errorf("%s: %w", certFile, err)
	}
	i.leaf = leaf
	return nil
}

// check reads a certificate that must be this node's.
func (i *Identity) check(der []byte) (*x509.Certificate, error) {
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	id, err := nodeOf(leaf)
	if err != nil {
		return nil, err
	}
	if id != i.id {
		return nil, fmt.Errorf("it is for node %q, and this is %q", id, i.id)
	}
	if !i.key.PublicKey.Equal(leaf.PublicKey) {
		return nil, errors.New("it is for another key")
	}
	return leaf, nil
}

// write replaces a file in one step, durably.
func (i *Identity) write(name string, content []byte) error {
	path := filepath.Join(i.dir, name)
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	dir, err := os.Open(i.dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// ID returns the node's id.
func (i *Identity) ID() string { return i.id }

// Request returns a certificate request (DER) for the node's key.
func (i *Identity) Request() ([]byte, error) {
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, i.key)
}

// KeyFingerprint names the node's key: the SHA-256 of its public half in hex.
func (i *Identity) KeyFingerprint() (string, error) {
	der, err := x509.MarshalPKIXPublicKey(&i.key.PublicKey)
	return fingerprint(der), err
}

// Install puts a certificate and a bundle in force. No certificate leaves the one
// there is. The bundle must contain who issued the certificate.
func (i *Identity) Install(certificate []byte, trust Bundle) error {
	pool, err := trust.pool()
	if err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	leaf := i.leaf
	if certificate != nil {
		if leaf, err = i.check(certificate); err != nil {
			return fmt.Errorf("the certificate is not this node's: %w", err)
		}
	}
	if leaf == nil {
		return errors.New("there is no certificate to trust somebody with")
	}
	// At its own beginning: what the clocks say is of no importance here.
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: leaf.NotBefore, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		return fmt.Errorf("the trusted authorities have not issued the certificate: %w", err)
	}
	// Trust first: with it alone the old certificate still serves.
	if !trust.Equal(i.trust) {
		if err := i.write(trustFile, trust.encode()); err != nil {
			return fmt.Errorf("writing the trusted authorities: %w", err)
		}
		i.trust, i.pool = slices.Clone(trust), pool
	}
	if certificate != nil {
		if err := i.write(certFile, pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: certificate})); err != nil {
			return fmt.Errorf("writing the node's certificate: %w", err)
		}
		i.leaf = leaf
	}
	return nil
}

// State is what an identity has.
type State struct {
	// Issuer names the authority that has issued the certificate, "" without one.
	Issuer string
	// Issued is when that was.
	Issued time.Time
	// Trust names the trusted authorities.
	Trust []string
}

// State tells what there is.
func (i *Identity) State() State {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := State{Trust: i.trust.Fingerprints()}
	if i.leaf == nil {
		return s
	}
	s.Issued = i.leaf.NotBefore.Add(backdate)
	for n, der := range i.trust {
		issuer, err := x509.ParseCertificate(der)
		if err == nil && i.leaf.CheckSignatureFrom(issuer) == nil {
			s.Issuer = s.Trust[n]
		}
	}
	return s
}

// Trust returns the trusted authorities.
func (i *Identity) Trust() Bundle {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.trust)
}

var errNoCertificate = errors.New("this node belongs to no cluster yet")

// present returns what to show to others, and whom to believe.
func (i *Identity) present() (*tls.Certificate, *x509.CertPool, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.leaf == nil {
		return nil, nil, errNoCertificate
	}
	return &tls.Certificate{Certificate: [][]byte{i.leaf.Raw}, PrivateKey: i.key, Leaf: i.leaf}, i.pool, nil
}
