/* The CNI plugin that runtimes start: it forwards its environment and input to the provider of this node. Without a provider it
 * falls back to `pcn-k8s cni`. stub.py does the same, and starts 5 ms slower.
 *
 *     cc -O2 -static -DFALLBACK='"/usr/bin/pcn-k8s"' -o pcn stub.c
 *
 * The input is not parsed: it is sent to a socket, and the response is written to standard output.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef FALLBACK
#define FALLBACK "pcn-k8s"
#endif
#define SOCKET "/run/pcn/sys-fs-bpf-pcn.cni.sock"
#define MOST (1 << 20) /* bytes: the provider's limit, too */
#define PATIENCE 110   /* seconds: kubelet gives up after two minutes */

extern char **environ;
static char request[MOST], answer[MOST];

/* Prints an error of CNI instead of a response. */
static int fail(int code, const char *words)
{
	printf("{\"cniVersion\": \"1.0.0\", \"code\": %d, \"msg\": \"%s\"}\n", code, words);
	return 1;
}

static char *variable(const char *name, char *otherwise)
{
	char *said = getenv(name);

	return said ? said : otherwise;
}

/* Reads until EOF into a buffer that has `have` bytes. Returns its length, or -1 if the input is too long or unreadable. */
static ssize_t everything(int fd, char *buffer, size_t have, int is_socket)
{
	while (have < MOST) {
		ssize_t got = is_socket ? recv(fd, buffer + have, MOST - have, 0) : read(fd, buffer + have, MOST - have);
		if (got == 0)
			return have;
		if (got < 0 && errno != EINTR)
			return -1;
		have += got > 0 ? got : 0;
	}
	return -1;
}

static int say(int fd, const char *words, size_t length, int is_socket)
{
	while (length) {
		ssize_t said = is_socket ? send(fd, words, length, MSG_NOSIGNAL) : write(fd, words, length);
		if (said < 0 && errno != EINTR)
			return -1;
		words += said > 0 ? said : 0;
		length -= said > 0 ? said : 0;
	}
	return 0;
}

/* Writes `CNI_NAME=VALUE` and a zero byte for each variable, and another zero byte. Returns the length, or -1 if too long. */
static ssize_t variables(void)
{
	size_t have = 0;

	for (char **each = environ; *each; each++) {
		size_t length = strlen(*each) + 1;
		if (strncmp(*each, "CNI_", 4))
			continue;
		if (length >= MOST - have)
			return -1;
		memcpy(request + have, *each, length);
		have += length;
	}
	request[have] = 0;
	return have + 1;
}

/* Sends the request to the provider. Returns the length of the response, or -1 if there is none. */
static ssize_t ask(const char *path, size_t length)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = PATIENCE};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ssize_t got = -1;

	if (fd < 0)
		return -1;
	if (strlen(path) < sizeof(address.sun_path)) {
		strcpy(address.sun_path, path);
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
		if (!connect(fd, (struct sockaddr *)&address, sizeof(address)) && !say(fd, request, length, 1) && !shutdown(fd, SHUT_WR))
			got = everything(fd, answer, 0, 1);
	}
	close(fd); /* else a provider that hangs would keep the connection until the fallback ends */
	return got;
}

/* Parses the response: sets the exit code, and returns the start of the output; NULL if invalid. */
static const char *parse(ssize_t length, int *code)
{
	ssize_t at = 0;

	for (*code = 0; at < length && at < 3 && answer[at] >= '0' && answer[at] <= '9'; at++)
		*code = *code * 10 + answer[at] - '0';
	return at && at < length && answer[at] == '\n' ? answer + at + 1 : NULL;
}

static int fall_back(const char *input, size_t length)
{
	char *program = variable("PCN_CNI_FALLBACK", FALLBACK);
	int fd = memfd_create("cni", MFD_CLOEXEC); /* the input may exceed a pipe's capacity */

	if (fd >= 0 && !say(fd, input, length, 0) && !lseek(fd, 0, SEEK_SET) && dup2(fd, 0) == 0)
		execve(program, (char *[]){program, "cni", NULL}, environ);
	return fail(11, "the Kubernetes provider of this node does not answer, and pcn-k8s cannot be started");
}

int main(void)
{
	ssize_t head = variables(), length = head < 0 ? -1 : everything(0, request, head, 0), got;
	const char *output;
	int code;

	if (length < 0)
		return fail(6, "the configuration cannot be read, or is longer than 1 MiB");
	got = ask(variable("PCN_CNI_SOCKET", SOCKET), length);
	output = parse(got, &code);
	if (!output)
		return fall_back(request + head, length - head);
	return say(1, output, answer + got - output, 0) ? 1 : code;
}
