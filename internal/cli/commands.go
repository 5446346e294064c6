package cli

// commands returns the tree of all commands.
func (a *App) commands() *command {
	return &command{subs: []*command{
		readCommand(),
		writeCommand(),
		patchCommand(),
		deleteCommand(),
		listCommand(),
		scanCommand(),
		unwrapCommand(),
		pathHelpCommand(),
		statusCommand(),
		printCommand(),
		versionCommand(),
	}}
}
