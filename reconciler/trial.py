def refuse_while_trying(root): pass
