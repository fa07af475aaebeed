declare module "swagger-ui-dist/swagger-ui-es-bundle.js" {
  interface Request {
    headers: Record<string, string>;
  }
  interface Options {
    domNode: Element;
    spec: object;
    docExpansion: "list" | "full" | "none";
    defaultModelsExpandDepth: number;
    validatorUrl: null;
    requestInterceptor: (request: Request) => Request;
  }
  export default function SwaggerUI(options: Options): void;
}
