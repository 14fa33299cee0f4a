# docker build -f deploy/images/coordinator.Dockerfile -t ulysses-coordinator .
# With the command line, for those who look at the cluster or resize it from inside: node services/cli/dist/main.js status
FROM node:22-bookworm-slim AS build
WORKDIR /app
COPY . .
RUN npm ci --ignore-scripts --no-audit --no-fund
RUN npx tsc -b services/coordinator services/cli
RUN node deploy/images/assemble.mjs /image coordinator cli

FROM node:22-bookworm-slim
ENV NODE_ENV=production
WORKDIR /app
COPY --from=build /image /app
USER 1000:1000
EXPOSE 7100 9100
ENV ULYSSES_LISTEN=0.0.0.0:7100 ULYSSES_METRICS=0.0.0.0:9100
# Alive; whether it is ready is for whoever sends work to it.
HEALTHCHECK --interval=10s --timeout=3s CMD ["node", "-e", "fetch('http://127.0.0.1:9100/healthz').then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "services/coordinator/dist/main.js"]
