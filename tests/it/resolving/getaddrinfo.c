/* What getaddrinfo() says of each name given: its addresses, or the error. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        struct addrinfo hints, *all = NULL;
        memset(&hints, 0, sizeof hints);
        hints.ai_socktype = SOCK_STREAM;
        int error = getaddrinfo(argv[i], "80", &hints, &all);
        printf("%s", argv[i]);
        if (error)
            printf(" error %d", error);
        for (struct addrinfo *one = all; !error && one; one = one->ai_next) {
            char text[INET6_ADDRSTRLEN];
            const void *address = one->ai_family == AF_INET
                ? (const void *)&((struct sockaddr_in *)one->ai_addr)->sin_addr
                : (const void *)&((struct sockaddr_in6 *)one->ai_addr)->sin6_addr;
            printf(" %s", inet_ntop(one->ai_family, address, text, sizeof text));
        }
        printf("\n");
        if (!error)
            freeaddrinfo(all);
    }
    return 0;
}
