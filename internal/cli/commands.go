package cli

// commands returns the tree of all commands.
func (a *App) commands() *command {
	return &command{subs: []*command{
		loginCommand(),
		kvCommand(),
		readCommand(),
		writeCommand(),
		applyCommand(),
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
		a.auditCommand(),
		a.operatorCommand(),
		a.hookCommand("server", "Start a server", a.Server),
		statusCommand(),
		monitorCommand(),
		namespaceCommand(),
		pluginCommand(),
		benchCommand(),
		versionHistoryCommand(),
		a.completionCommand(),
		printCommand(),
		versionCommand(),
	}}
}
