/* Resolves each argument as programs do, by getaddrinfo for IPv4 and IPv6 together, and prints
 * "name address" lines. Exit code: 0 all resolved, 1 a name did not, 2 wrong use. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static int resolve(const char *name) {
    struct addrinfo hints, *list, *each;
    char text[INET6_ADDRSTRLEN];
    memset(&hints, 0, sizeof hints);
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    int code = getaddrinfo(name, NULL, &hints, &list);
    if (code != 0) {
        fprintf(stderr, "%s: %s\n", name, gai_strerror(code));
        return 1;
    }
    for (each = list; each != NULL; each = each->ai_next) {
        const void *address = each->ai_family == AF_INET6
            ? (const void *)&((struct sockaddr_in6 *)each->ai_addr)->sin6_addr
            : (const void *)&((struct sockaddr_in *)each->ai_addr)->sin_addr;
        if (inet_ntop(each->ai_family, address, text, sizeof text) != NULL)
            printf("%s %s\n", name, text);
    }
    freeaddrinfo(list);
    return 0;
}

int main(int argc, char **argv) {
    int failed = 0;
    if (argc < 2) {
        fprintf(stderr, "usage: resolve NAME...\n");
        return 2;
    }
    for (int i = 1; i < argc; i++)
        failed |= resolve(argv[i]);
    return failed;
}
