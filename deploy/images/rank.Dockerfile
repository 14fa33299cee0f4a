# docker build -f deploy/images/rank.Dockerfile -t ulysses-rank .
FROM rust:1.89-bookworm AS native
WORKDIR /app
COPY packages/native packages/native
RUN cargo build --release --locked --manifest-path packages/native/Cargo.toml --package ulysses-addon

FROM node:22-bookworm-slim AS build
WORKDIR /app
COPY . .
COPY --from=native /app/packages/native/target/release/libulysses_addon.so packages/native/ulysses.node
RUN npm ci --ignore-scripts --no-audit --no-fund
RUN npx tsc -b services/rank
RUN node deploy/images/assemble.mjs /image rank

FROM node:22-bookworm-slim
ENV NODE_ENV=production
WORKDIR /app
COPY --from=build /image /app
USER 1000:1000
EXPOSE 7101 7102 9100
ENV ULYSSES_LISTEN=0.0.0.0:7101 ULYSSES_TENSOR_LISTEN=0.0.0.0:7102 ULYSSES_METRICS=0.0.0.0:9100
# Alive; whether it is ready is for whoever sends work to it.
HEALTHCHECK --interval=10s --timeout=3s CMD ["node", "-e", "fetch('http://127.0.0.1:9100/healthz').then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "services/rank/dist/main.js"]
