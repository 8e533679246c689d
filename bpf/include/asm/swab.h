#include <uapi/asm/swab.h>
