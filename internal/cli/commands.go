package cli

// commands returns the tree of all commands.
func (a *App) commands() *command {
	return &command{subs: []*command{
		kvCommand(),
		readCommand(),
		writeCommand(),
		patchCommand(),
		deleteCommand(),
		listCommand(),
		scanCommand(),
		unwrapCommand(),
		pathHelpCommand(),
		secretsCommand(),
		authCommand(),
		policyCommand(),
		tokenCommand(),
		leaseCommand(),
		auditCommand(),
		statusCommand(),
		printCommand(),
		versionCommand(),
	}}
}
