package abuse_test

// canary is what must not be found where a secret may not be.
const canary = "c4n4ry-5ecret-th4t-nobody-m4y-see"
