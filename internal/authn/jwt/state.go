package jwt

// stateKeySize is that of the key of states, in bytes.
const stateKeySize = 32
