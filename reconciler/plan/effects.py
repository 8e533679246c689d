"""Which operations have so small an effect that less than everything need be read beside them."""

from reconciler.plan.operations import AttachHook, DeleteRows, DetachHook, SetDocument, SetHop, SetMember, WriteRows

OF_ROWS = (WriteRows, DeleteRows)
"""Write rows of tables and nothing else."""
CONNECTING = (*OF_ROWS, SetHop, SetMember, AttachHook, DetachHook)
"""What it takes that a netdev came, or went."""
SEEN = (*CONNECTING, SetDocument)
"""After these a read sees all that was done."""
