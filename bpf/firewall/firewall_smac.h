/* Rules that ask who sent the frame. Their MAC is part of the key, mixed into the ports, so that a list of stations is one look-up; the
 * cell then asks for all of it. Programs without ASKS_SETS know of no MAC, and meet no rule that asks for one. */

static __always_inline u32 key_ports(const struct packet *packet, u32 ports, u32 sets) {
#ifdef ASKS_SETS
  u32 smac = (packet->smac_low ^ packet->smac_high << 16) * 2654435761u; /* cubes/lib/stations.py does the same */
  return (packet->ports & ports) ^ (smac & -(sets / TUPLE_SMAC & 1));
#else
  return packet->ports & ports;
#endif
}

static __always_inline u64 is_other_sender(const struct packet *packet, const struct conditions *is) {
  u64 differs = is_some((packet->smac_low ^ is->smac_low) | (packet->smac_high ^ is->smac_high));
  return is_some(is->asks_smac) & (differs ^ is->asks_smac >> 1);
}
