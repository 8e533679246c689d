#include <uapi/asm/posix_types.h>
