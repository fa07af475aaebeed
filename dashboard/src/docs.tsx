// The description of the API, to read and to try. The page fetches it with the token, if there is one.

import { render } from "preact";
import { useEffect, useRef } from "preact/hooks";
import SwaggerUI from "swagger-ui-dist/swagger-ui-es-bundle.js";
import "swagger-ui-dist/swagger-ui.css";

import { call, message, token } from "./api";
import { Header } from "./parts/header";
import { TokenDialog } from "./parts/token_dialog";
import "./style.css";
import "./docs.css";

function Docs() {
  const place = useRef<HTMLDivElement>(null);
  useEffect(() => {
    call<object>("GET", "openapi.json").then(
      (spec) =>
        SwaggerUI({
          domNode: place.current!,
          spec,
          docExpansion: "list",
          defaultModelsExpandDepth: 0,
          // Otherwise it would send the description to a validator on another site.
          validatorUrl: null,
          requestInterceptor: (request) => {
            if (token.value !== null) request.headers["Authorization"] = `Bearer ${token.value}`;
            return request;
          },
        }),
      (error: unknown) => {
        place.current!.textContent = message(error);
      },
    );
  }, []);
  return (
    <>
      <Header current="API" />
      <main id="main" class="docs" tabIndex={-1}>
        <div ref={place} />
      </main>
      <TokenDialog />
    </>
  );
}

render(<Docs />, document.getElementById("app")!);
