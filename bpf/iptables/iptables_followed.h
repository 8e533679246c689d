/* What comes of a packet whose state is known. */

/* What this host says to itself was followed as it was sent: when it comes, it only belongs to what it made then. */
static __always_inline bool was_followed(const struct packet *packet) { return !PCN_EGRESS && packet->in == LOOPBACK; }

static __always_inline int go_on(struct CTXTYPE *ctx, struct pkt_metadata *md, struct packet *packet) {
  packet->news = says_news(packet);
  if (was_followed(packet)) {
    packet->next.state = CONNECTION_NONE;
    packet->news = 0;
  }
  return classify(ctx, md, packet);
}
