// Package cli is Coffer's command line: the verbs, flags, output layouts and
// exit codes that users of the vault and bao commands have in their fingers.
//
// An [App] holds everything the command line takes from the outside; its Main
// method runs one command. Commands form a tree of values ([*App] builds it,
// one file per family) and reach the server through package api only.
//
// Exit codes: 0 for success, 1 for an error on this side (usage, a missing
// file), 2 for an error of the server or of the connection to it. The status
// command answers 2 when the server is sealed and 1 for every error.
//
// A secret value is printed on standard output only; messages, prompts and
// hints go to standard error.
package cli
