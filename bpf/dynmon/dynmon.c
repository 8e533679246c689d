/* A direction for which there is no program of the user's: packets pass. */
static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) { return RX_OK; }
