// Package faults holds the tests that break a server's world: the process is
// killed, its database dies, its disk fills up or fails, its log is cut, its
// clock goes on while it is down.
//
// The server is a process of its own, as an operator would run it: this test
// binary, started anew under the name of the server command. What it wrote is
// judged from outside through the API, and from inside by opening its storage
// after its death.
//
// Small disks are mounted by root, and failing ones are made by strace. Without
// either their tests are skipped.
//
// Some variables ask for more than the normal suite does:
//
//	COFFER_FAULTS_KILLS   how often the server is killed under load (15)
//	COFFER_FAULTS_STORM   how many tokens expire in the same second (20000)
//	COFFER_FAULTS_REFUSALS   how many requests of a kind are refused (3000)
package faults
