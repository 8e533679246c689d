/* Finds the sets that a packet's addresses are in (lib/address_sets.h), once for all rules.
 *
 * A row says of an address in which sets it is by itself, another one of the longest prefix that has it in which sets that is, so two
 * look-ups do for any number of sets. The includer declares struct packet: u32 sets (enum sets), src[4], dst[4]; members src_in, dst_in.
 */
#define TRIES 4 /* a row is looked up again if another took its place meanwhile: see lib/classify.h */

/* `in` has the sets of the address's prefix: those of the address itself are added. */
static __always_inline bool add_host(struct members *in, struct address *address) {
  for (int try = 0; try < TRIES; try++) {
    struct set_host *host = set_hosts.lookup(address);
    if (!host)
      return true;
    struct members own = host->in;
    asm volatile("" : : : "memory"); /* all of the row is read by now */
    if (!same_address(host->address, address))
      continue;
#pragma unroll
    for (int i = 0; i < SET_WORDS; i++)
      in->bits[i] |= own.bits[i];
    return true;
  }
  return false;
}

static __always_inline bool find_sets(struct members *in, const u32 *words) {
  struct address address;
  struct prefix6 prefix;
  __builtin_memcpy(&address, words, sizeof(address));
  lpm_host6(&prefix, words);
  struct set_prefix *found = set_prefixes.lookup(&prefix);
#pragma unroll
  for (int i = 0; i < SET_WORDS; i++)
    in->bits[i] = found ? found->in.bits[i] : 0;
  in->bits[0] |= 1;
  return add_host(in, &address);
}

static __always_inline void find_none(struct members *in) {
#pragma unroll
  for (int i = 0; i < SET_WORDS; i++)
    in->bits[i] = !i;
}

/* The sets of both addresses, as far as anybody asks. False: the rows changed too often meanwhile. */
static __always_inline bool find_asked(struct packet *packet) {
  bool found = true;
  if (packet->sets & SETS_SRC)
    found = find_sets(&packet->src_in, packet->src);
  else
    find_none(&packet->src_in);
  if (packet->sets & SETS_DST)
    found &= find_sets(&packet->dst_in, packet->dst);
  else
    find_none(&packet->dst_in);
  return found;
}
